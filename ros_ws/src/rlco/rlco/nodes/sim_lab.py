"""The simulated lab as a ROS 2 node: topics and services of a real bench.

Lock step (`/clock`, simulated time): publishes the observation of step `k` stamped `t_k`, waits for
`target_pose` and `gripper/target` stamped `t_k`, advances one control period. While nobody commands
it does nothing but repeat the observation now and then, for those who join late or lost a message.
By the wall clock: advances every period with the newest command, with the last target where none
came; stamps are wall-clock times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from geometry_msgs.msg import PoseStamped
from rclpy.publisher import Publisher
from rlco_calibration.board import Board
from rlco_calibration.initial_states import stood
from rlco_calibration.parts import Drawer, ObjectModel
from rlco_calibration.port import BoardPlace
from rlco_calibration.twin import Twin
from rlco_msgs.srv import ResetScene, ScoreTrial
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from rlco.lab.bench import SimulatedBench
from rlco.lab.build import build_bench
from rlco.lab.port import LabBoard
from rlco.nodes import topics, wire
from rlco.nodes.runtime import COMMAND_QOS, RlcoNode, declare, main, state_qos
from rlco.nodes.tf import TcpFrame, frame_of
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
        self._sizes_m = sizes_m(self._twin)
        self._board = LabBoard(self._twin, Board())
        self._measurements: list[tuple[Publisher, Callable[[int], Any]]] = []
        self._observation: dict[Publisher, Any] = {}
        self._tcp_frame = TcpFrame(self)
        self._advertise(lock_step)
        period_s = self._parameters.repeat_s if lock_step else self._contract.period_s
        self._timer = self.wall_timer(period_s, self._repeat if lock_step else self._tick)
        self._reset_ns = 0
        self._observe()

    def _advertise(self, lock_step: bool) -> None:
        qos = state_qos(lock_step=lock_step)
        scene = self._bench.scene

        def publish(kind: type, topic: str, measure: Callable[[int], Any]) -> None:
            self._measurements.append((self.create_publisher(kind, topic, qos), measure))

        if lock_step:
            publish(Clock, "/clock", lambda t: Clock(clock=wire.time_message(t)))
        publish(PoseStamped, topics.POSE, lambda t: wire.stamped_pose(scene.T_base_tcp, t))
        publish(JointState, topics.FINGERS, lambda t: wire.fingers(scene.gripper_width_m, t))
        publish(
            JointState,
            topics.JOINTS,
            lambda t: wire.joint_state(wire.ARM_JOINTS, scene.joint_positions_rad, t),
        )
        publish(
            MarkerArray,
            topics.OBJECTS,
            lambda t: wire.object_markers(scene.object_poses(), self._sizes_m, t),
        )
        for name in self._contract.camera_names:
            publish(CameraInfo, topics.camera_info(name), partial(self._info, name))
            publish(Image, topics.image(name), partial(self._frame, name))
        self.create_subscription(PoseStamped, topics.TARGET_POSE, self._on_pose, COMMAND_QOS)
        self.create_subscription(JointState, topics.GRIPPER_TARGET, self._on_gripper, COMMAND_QOS)
        self.create_service(ResetScene, topics.RESET_SCENE, self._on_reset)
        self.create_service(ScoreTrial, topics.SCORE_TRIAL, self._on_score)
        for place in get_args(BoardPlace):
            self.create_service(Trigger, topics.board(place), partial(self._on_board, place))

    def _on_pose(self, message: PoseStamped) -> None:
        try:
            pose = wire.pose_matrix(message.pose)
        except ValueError as error:
            self.get_logger().error(f"refused {topics.TARGET_POSE}: {error}")
            return
        self._bench.offer_pose(self._step_of(message), pose)
        self._advance_if_commanded()

    def _on_gripper(self, message: JointState) -> None:
        try:
            width_m = wire.gripper_target_width_m(message)
            self._bench.offer_width(self._step_of(message), width_m)
        except ValueError as error:
            self.get_logger().error(f"refused {topics.GRIPPER_TARGET}: {error}")
            return
        self._advance_if_commanded()

    def _step_of(self, message: Any) -> int:
        """Return which observation a command counts for: in lock step the one that it answers.

        By the wall clock the present one, unless the command was meant for the scene before.
        """
        stamp_ns = wire.stamp_ns(message.header.stamp)
        if self._parameters.lock_step or stamp_ns < self._reset_ns:
            return stamp_ns
        return self._bench.stamp_ns

    def _advance_if_commanded(self) -> None:
        if self._parameters.lock_step and self._bench.commanded:
            self._bench.advance()
            self._observe()

    def _tick(self) -> None:
        """Advance by the wall clock: the period that ends now is lived with what came in it."""
        before_ns = self._bench.stamp_ns
        self._bench.advance()
        self._set_clock(before_ns)
        self._observe()

    def _set_clock(self, before_ns: int) -> None:
        """Let the scene's time be the wall clock's; it was `before_ns`, and never goes back."""
        self._bench.stamp_ns = max(before_ns + 1, time.time_ns())

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        before_ns = self._bench.stamp_ns
        try:
            asked = wire.initial_condition(request.initial_condition)
            self._bench.reset(stood(self._twin, asked))  # on the lab's own table
        except ValueError as error:
            response.message = str(error)
            return response
        if not self._parameters.lock_step:
            self._set_clock(before_ns)
        self._reset_ns = self._bench.stamp_ns
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

    def _on_board(
        self, place: BoardPlace, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._board.place = place
        self._observation = {}
        response.success, response.message = True, f"board: {place}"
        return response

    def _observe(self) -> None:
        """Measure everything at the current time and publish it."""
        self._observation = {}
        if self._parameters.lock_step:
            self._timer.reset()
        self._publish(images=self._bench.steps % self._parameters.image_every == 0)

    def _repeat(self) -> None:
        self._publish(images=True)

    def _publish(self, *, images: bool) -> None:
        """Publish the observation; what nobody listens to is neither measured nor published."""
        stamp_ns = self._bench.stamp_ns
        self._tcp_frame.send(self._bench.scene.T_base_tcp, stamp_ns)
        for publisher, measure in self._measurements:
            unwanted = publisher.msg_type is Image and not images
            if unwanted or publisher.get_subscription_count() == 0:
                continue
            if publisher not in self._observation:
                self._observation[publisher] = measure(stamp_ns)
            publisher.publish(self._observation[publisher])

    def _frame(self, camera: str, stamp_ns: int) -> Image:
        scene = self._bench.scene
        frame = self._board.shown(camera, scene.source_frame(camera), scene.T_base_tcp)
        return wire.image_message(frame, self._frame_id(camera), stamp_ns)

    def _frame_id(self, camera: str) -> str:
        return frame_of(self, wire.optical_frame(camera))

    def _info(self, camera: str, stamp_ns: int) -> CameraInfo:
        return wire.camera_info(self._twin.camera(camera), self._frame_id(camera), stamp_ns)


def sizes_m(twin: Twin) -> dict[str, tuple[float, float, float]]:
    """Return the edges of the box around every object, cabinet and handle by name."""
    sizes = {model.name: box_size_m(model) for model in twin.objects}
    sizes |= {drawer.name: drawer.size_m for drawer in twin.drawers}
    return sizes | {drawer.handle_name: _bar_m(drawer) for drawer in twin.drawers}


def _bar_m(drawer: Drawer) -> tuple[float, float, float]:
    _, width, thickness = drawer.handle_size_m
    return (thickness, width, thickness)


def box_size_m(model: ObjectModel) -> tuple[float, float, float]:
    """Return the edges of the box around an object."""
    x, y, z = model.size_m
    return (x, y, z) if model.kind == "box" else (x, x, z)


def run() -> None:
    """Run the node."""
    main(SimLab)


if __name__ == "__main__":
    run()
