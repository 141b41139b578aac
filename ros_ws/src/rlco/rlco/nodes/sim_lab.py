"""The simulated lab as a ROS 2 node: topics and services of a real bench.

Lock step (`/clock`, simulated time): publishes the observation of step `k` stamped `t_k`, waits for
`target_pose` and `gripper/target` stamped `t_k`, advances one control period. While nobody commands
it does nothing but repeat the observation now and then, for those who join late or lost a message.
By the wall clock: advances every period, with the last target where no command came.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rlco_calibration.twin import ObjectModel, Twin
from rlco_msgs.srv import ResetScene, ScoreTrial
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from visualization_msgs.msg import MarkerArray

from rlco.lab.bench import SimulatedBench
from rlco.lab.build import build_bench
from rlco.nodes import topics, wire
from rlco.nodes.runtime import COMMAND_QOS, RlcoNode, declare, main, state_qos
from rlco.parameters import SimLabParameters, contract_named

BenchBuilder = Callable[..., tuple[Twin, SimulatedBench]]
"""As `build_bench`."""
START_NS = 1_000_000_000


class SimLab(RlcoNode):
    """Owns the simulated bench."""

    def __init__(self, build: BenchBuilder = build_bench) -> None:
        """Build the scene and publish its first observation."""
        super().__init__("sim_lab")
        self._parameters = declare(self, SimLabParameters)
        self._contract = contract_named(self._parameters.contract)
        lock_step = self._parameters.lock_step
        self._twin, self._bench = build(
            self._parameters.twin,
            self._contract,
            self._parameters.task,
            seed=self._parameters.seed,
            start_ns=START_NS if lock_step else time.time_ns(),
        )
        self._sizes_m = {model.name: box_size_m(model) for model in self._twin.objects}
        self._advertise(lock_step)
        self._observation: list[tuple[Any, Any]] = []
        period_s = self._parameters.repeat_s if lock_step else self._contract.period_s
        self._timer = self.wall_timer(period_s, self._publish if lock_step else self._tick)
        self._observe()

    def _advertise(self, lock_step: bool) -> None:
        state = state_qos(lock_step=lock_step)
        self._clock_out = self.create_publisher(Clock, "/clock", 10) if lock_step else None
        self._pose_out = self.create_publisher(PoseStamped, topics.POSE, state)
        self._joints_out = self.create_publisher(JointState, topics.JOINTS, state)
        self._fingers_out = self.create_publisher(JointState, topics.FINGERS, state)
        self._objects_out = self.create_publisher(MarkerArray, topics.OBJECTS, state)
        self._images_out = {
            name: self.create_publisher(Image, topics.image(name), state)
            for name in self._contract.camera_names
        }
        self._infos_out = {
            name: self.create_publisher(CameraInfo, topics.camera_info(name), state)
            for name in self._contract.camera_names
        }
        self.create_subscription(PoseStamped, topics.TARGET_POSE, self._on_pose, COMMAND_QOS)
        self.create_subscription(JointState, topics.GRIPPER_TARGET, self._on_gripper, COMMAND_QOS)
        self.create_service(ResetScene, topics.RESET_SCENE, self._on_reset)
        self.create_service(ScoreTrial, topics.SCORE_TRIAL, self._on_score)

    def _on_pose(self, message: PoseStamped) -> None:
        try:
            pose = wire.pose_matrix(message.pose)
        except ValueError as error:
            self.get_logger().error(f"refused {topics.TARGET_POSE}: {error}")
            return
        self._bench.offer_pose(wire.stamp_ns(message.header.stamp), pose)
        self._advance_if_commanded()

    def _on_gripper(self, message: JointState) -> None:
        try:
            width_m = wire.gripper_target_width_m(message)
            self._bench.offer_width(wire.stamp_ns(message.header.stamp), width_m)
        except ValueError as error:
            self.get_logger().error(f"refused {topics.GRIPPER_TARGET}: {error}")
            return
        self._advance_if_commanded()

    def _advance_if_commanded(self) -> None:
        if self._parameters.lock_step and self._bench.commanded:
            self._bench.advance()
            self._observe()

    def _tick(self) -> None:
        """Advance by the wall clock: the period that ends now is lived with what came in it."""
        self._bench.advance()
        self._observe()

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            self._bench.reset(wire.initial_condition(request.initial_condition))
        except ValueError as error:
            response.message = str(error)
            return response
        response.success = True
        response.stamp = wire.time_message(self._bench.stamp_ns)
        self._observe()
        return response

    def _on_score(
        self, request: ScoreTrial.Request, response: ScoreTrial.Response
    ) -> ScoreTrial.Response:
        score = self._bench.score()
        response.valid, response.success = True, score.success
        response.milestone, response.steps = score.milestone, score.steps
        return response

    def _observe(self) -> None:
        """Measure everything at the current time and publish it."""
        scene, stamp = self._bench.scene, self._bench.stamp_ns
        self._observation = [
            (self._pose_out, wire.stamped_pose(scene.T_base_tcp, stamp)),
            (self._fingers_out, wire.fingers(scene.gripper_width_m, stamp)),
            (
                self._joints_out,
                wire.joint_state(wire.ARM_JOINTS, scene.joint_positions_rad, stamp),
            ),
            (
                self._objects_out,
                wire.object_markers(scene.object_poses(), self._sizes_m, stamp),
            ),
        ]
        if self._clock_out is not None:
            clock = Clock(clock=wire.time_message(stamp))
            self._observation.insert(0, (self._clock_out, clock))
        for name in self._contract.camera_names:
            frame_id = f"{name}_optical_frame"
            frame = scene.source_frame(name)
            self._observation += [
                (self._infos_out[name], wire.camera_info(self._twin.camera(name), frame_id, stamp)),
                (self._images_out[name], wire.image_message(frame, frame_id, stamp)),
            ]
        if self._parameters.lock_step:
            self._timer.reset()
        self._publish()

    def _publish(self) -> None:
        for publisher, message in self._observation:
            publisher.publish(message)


def box_size_m(model: ObjectModel) -> tuple[float, float, float]:
    """Return the edges of the box around an object."""
    x, y, z = model.size_m
    return (x, y, z) if model.kind == "box" else (x, x, z)


def run() -> None:
    """Run the node."""
    main(SimLab)


if __name__ == "__main__":
    run()
