"""The guard as a ROS 2 node: the only publisher of `target_pose` and `gripper/target`.

Listens to the commands of every source (`teleop/target_pose`, `policy/target_pose`, ...) and lets
through those of the one that `guard/select` handed over to, with their stamps unchanged. What
breaks a rule stops the arm (`guard/state`, `diagnostics`, log); `guard/stop`, `guard/estop` and the
operator's stop key do, too. Only `guard/resume`, or the operator's resume key, ends a stop.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlco_msgs.msg import ArmStatus, GuardState
from rlco_msgs.srv import SelectSource
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from rlco.core.guard import Guard
from rlco.nodes import topics, wire
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import COMMAND_QOS, RlcoNode, declare, main, state_qos
from rlco.parameters import GuardParameters, contract_named

SOURCES = ("teleop", "policy")
WATCH_S = 0.01
HEARTBEAT_S = 0.05
"""By the wall clock, `guard/state` is repeated so often; the arm driver watches for it."""
SURVEY_S = 0.5
"""How often to look for a second publisher of the command topics, and to retry the first source."""
STATE_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STOP_EVENTS = ("stop", "estop")
RESUME_EVENT = "resume"
RESTING = "the operator has let go"


class GuardNode(RlcoNode):
    """Relays, limits and stops."""

    def __init__(self) -> None:
        """Advertise the commands and listen to every source."""
        super().__init__("guard")
        self._parameters = declare(self, GuardParameters)
        contract = contract_named(self._parameters.contract)
        lock_step = self._parameters.lock_step
        self._guard = Guard(
            self._parameters,
            contract,
            lock_step=lock_step,
            clock_s=time.monotonic,
            cameras=contract.camera_names,
            with_arm_status=self._parameters.arm_status,
        )
        self._wanted = self._parameters.initial_source
        self._waiting: tuple[str, PoseStamped] | None = None
        self._told: tuple[str, str, int, bool] | None = None
        self._state = GuardState()
        self._pose_out = self.create_publisher(PoseStamped, topics.TARGET_POSE, COMMAND_QOS)
        self._gripper_out = self.create_publisher(JointState, topics.GRIPPER_TARGET, COMMAND_QOS)
        self._state_out = self.create_publisher(GuardState, topics.GUARD_STATE, STATE_QOS)
        self._diagnostics = Diagnostics(self)
        self._listen(state_qos(lock_step=lock_step, depth=10 if lock_step else 1))
        self.create_service(SelectSource, topics.SELECT_SOURCE, self._on_select)
        self.create_service(Trigger, topics.STOP_GUARD, self._on_stop)
        self.create_service(Trigger, topics.RESUME_GUARD, self._on_resume)
        self._ticks = [self.wall_timer(SURVEY_S, self._survey)]
        if not lock_step:
            self._ticks.append(self.wall_timer(WATCH_S, self._watch))
            self._ticks.append(self.wall_timer(HEARTBEAT_S, self._publish_state))
        self._tell()

    def _listen(self, state: QoSProfile) -> None:
        for source in SOURCES:
            self.create_subscription(
                PoseStamped, topics.source_pose(source), partial(self._on_pose, source), COMMAND_QOS
            )
            gripper = partial(self._on_gripper, source)
            self.create_subscription(
                JointState, topics.source_gripper(source), gripper, COMMAND_QOS
            )
        self.create_subscription(PoseStamped, topics.POSE, self._on_state, state)
        self.create_subscription(Bool, topics.ESTOP, self._on_estop, 10)
        self.create_subscription(String, topics.TELEOP_EVENT, self._on_event, 10)
        if self._parameters.robot:
            self.create_subscription(JointState, topics.JOINTS, self._on_joints, state)
        if self._parameters.arm_status:
            self.create_subscription(ArmStatus, topics.ARM_STATUS, self._on_arm, 10)
        if not self._parameters.lock_step:
            for name in contract_named(self._parameters.contract).camera_names:
                heard = partial(self._on_camera, name)
                self.create_subscription(CameraInfo, topics.camera_info(name), heard, state)

    def _on_pose(self, source: str, message: PoseStamped) -> None:
        if source != self._guard.source:
            return
        try:
            asked = _pose_in_base(message)
        except ValueError as error:
            self._guard.stop(f"{topics.source_pose(source)}: {error}")
            self._tell()
            return
        stamp_ns = wire.stamp_ns(message.header.stamp)
        self._waiting = (source, message) if self._guard.waits(stamp_ns) else None
        set_point = self._guard.offer(source, stamp_ns, asked)
        self._tell()
        if set_point is not None:
            self._pose_out.publish(
                wire.stamped_pose(set_point.T_base_target, stamp_ns)
                if set_point.limited
                else message
            )

    def _on_gripper(self, source: str, message: JointState) -> None:
        if source != self._guard.source:
            return
        try:
            width_m = self._guard.offer_width(source, wire.gripper_target_width_m(message))
        except wire.WireError as error:
            self._guard.stop(f"{topics.source_gripper(source)}: {error}")
            width_m = None
        if width_m is not None:
            stamp_ns = wire.stamp_ns(message.header.stamp)
            self._gripper_out.publish(wire.gripper_target(width_m, stamp_ns))
        self._tell()

    def _on_state(self, message: PoseStamped) -> None:
        try:
            pose = wire.pose_matrix(message.pose)
        except ValueError as error:
            self._guard.stop(f"{topics.POSE}: {error}. Check the arm's state broadcaster")
            self._tell()
            return
        self._guard.hear_state(wire.stamp_ns(message.header.stamp), pose)
        if self._waiting is not None:
            self._on_pose(*self._waiting)

    def _on_joints(self, message: JointState) -> None:
        try:
            self._guard.hear_joints(message.position)
        except ValueError as error:
            self._guard.stop(f"{topics.JOINTS}: {error}")
        self._tell()

    def _on_camera(self, name: str, message: CameraInfo) -> None:
        self._guard.hear_camera(name)

    def _on_arm(self, message: ArmStatus) -> None:
        reason = message.reason or ", ".join(message.errors)
        self._guard.hear_arm(message.mode, held=message.held, reason=reason)
        self._tell()

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._stop(f"software e-stop ({topics.ESTOP})")

    def _on_event(self, message: String) -> None:
        if message.data in STOP_EVENTS:
            self._stop(f"the operator pressed {message.data!r}")
        elif message.data == RESUME_EVENT:
            self._resume()

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stop(f"software e-stop ({topics.STOP_GUARD})")
        response.success, response.message = True, self._guard.reason
        return response

    def _on_resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._resume()
        response.success = not response.message
        return response

    def _on_select(
        self, request: SelectSource.Request, response: SelectSource.Response
    ) -> SelectSource.Response:
        self._wanted = "none"
        response.message = self._select(request.source, request.contract_id)
        response.success = not response.message
        return response

    def _select(self, source: str, contract_id: str = "") -> str:
        """Hand over; return why not, or ""."""
        outputs = (self._pose_out, self._gripper_out)
        heard_by = min(int(publisher.get_subscription_count()) for publisher in outputs)
        if source != "none" and heard_by < self._parameters.listeners:
            return (
                f"{heard_by} nodes listen to {topics.TARGET_POSE} and {topics.GRIPPER_TARGET}, "
                f"parameter listeners asks for {self._parameters.listeners}. Are the arm and "
                "gripper drivers (and the recorder) running?"
            )
        refusal = self._guard.select(source, contract_id)
        if not refusal:
            self._waiting = None
            self._tell()
        return refusal

    def _stop(self, reason: str) -> None:
        self._guard.stop(reason)
        self._tell()

    def _resume(self) -> str:
        refusal = self._guard.resume()
        if refusal:
            self.get_logger().error(f"not resumed: {refusal}")
        else:
            self._tell()
        return refusal

    def _tell(self) -> None:
        """Publish who drives, and why nobody does, when it has changed.

        Each hand-over has a time of its own: from it on, arm drivers take commands again.
        """
        guard = self._guard
        news = (guard.source, guard.reason, guard.hand_overs, guard.resting)
        if self._told == news:
            return
        if self._told is None or self._told[2] != guard.hand_overs:
            self._state.handed_over = wire.time_message(time.time_ns())
        before, self._told = self._told, news
        self._publish_state()
        if before is not None and before[:2] == news[:2]:
            return
        if guard.stopped:
            self._diagnostics.error(
                f"stopped: {guard.reason}. Resume with {topics.RESUME_GUARD}.", source=guard.source
            )
        else:
            self._diagnostics.ok(
                "nobody drives" if guard.source == "none" else f"{guard.source} drives",
                source=guard.source,
                limited=guard.limited,
            )
            self.get_logger().info(f"source: {guard.source}")

    def _publish_state(self) -> None:
        self._state.stamp = self.get_clock().now().to_msg()
        self._state.source = self._guard.source
        self._state.stopped = self._guard.stopped
        self._state.reason = self._guard.reason or (RESTING if self._guard.resting else "")
        self._state_out.publish(self._state)

    def _watch(self) -> None:
        """By the wall clock: notice silence; lead a controller that holds its target to rest."""
        self._guard.watch(self.get_clock().now().nanoseconds)
        self._tell()
        ramp, now_s = self._guard.ramp, time.monotonic()
        if ramp is None:
            return
        if ramp.done(now_s):
            self._guard.ramp = None
        stamp_ns = self.get_clock().now().nanoseconds
        self._pose_out.publish(wire.stamped_pose(ramp.pose(now_s), stamp_ns))

    def _survey(self) -> None:
        if self._wanted != "none" and not self._select(self._wanted):
            self._wanted = "none"
        for topic in (topics.TARGET_POSE, topics.GRIPPER_TARGET):
            if self.count_publishers(self.resolve_topic_name(topic)) > 1:
                self._stop(f"another node publishes {topic}; only the guard may. End that node")


def _pose_in_base(message: PoseStamped) -> Any:
    """Return a command's pose `(4, 4)`.

    Raises:
        ValueError: if it is in another frame than the base, has a value that is not finite, or a
            quaternion that is not of unit norm.
    """
    if message.header.frame_id != wire.BASE_FRAME:
        raise wire.WireError(
            f"the command is in frame {message.header.frame_id!r}, expected {wire.BASE_FRAME!r}"
        )
    return wire.pose_matrix(message.pose)


def run() -> None:
    """Run the node."""
    main(GuardNode)


if __name__ == "__main__":
    run()
