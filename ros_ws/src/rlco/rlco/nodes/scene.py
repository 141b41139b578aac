"""The scene of a real bench: the operator lays it out and judges each trial.

Answers `lab/reset_scene` and `lab/score_trial` as the simulated lab does, so that an evaluation
does not know the difference. What to do is told on `scene/prompt`, in the log and by cues; the
operator answers with the device's keys (`teleop/event`) or services:

    start, scene/ready      the scene is as the prompt says, my hands are out of it
    success, scene/success  the success criterion holds now
    failure, scene/failure  it cannot be met any more; the trial ends
    discard, scene/discard  something else went wrong: the trial is void and run again

Remarks go to `scene/note`, milestones to `scene/milestone` (String). The arm never moves before
the operator's word. While the scene is laid out, the operator's device may drive it.
"""

from __future__ import annotations

import time
from functools import partial

from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlco_msgs.srv import ResetScene, ScoreTrial, SelectSource
from std_msgs.msg import String
from std_srvs.srv import Trigger

from rlco.core.cues import cue_named
from rlco.core.guard import OPERATOR
from rlco.core.scene import VERDICTS, OperatedScene, instructions, parse_marks
from rlco.nodes import topics, wire
from rlco.nodes.diagnostics import Diagnostics
from rlco.nodes.runtime import RlcoNode, declare, main, state_qos
from rlco.nodes.waiting import until
from rlco.parameters import SceneParameters, contract_named

PROMPT_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAP_S = 0.02
"""A person is not served faster by looking more often."""
READY, READY_EVENT = "ready", "start"


class SceneNode(RlcoNode):
    """Asks the operator, and answers for them."""

    def __init__(self) -> None:
        """Offer the services."""
        super().__init__("scene")
        self._parameters = declare(self, SceneParameters)
        self._marks = parse_marks(self._parameters.marks)
        self._scene = OperatedScene(
            period_ns=contract_named(self._parameters.contract).period_ns,
            tolerance_m=self._parameters.arm_tolerance_m,
        )
        self._cue = cue_named(self._parameters.cues)
        self._diagnostics = Diagnostics(self)
        self._pose: PoseStamped | None = None
        self._asked = 0
        self._prompt_out = self.create_publisher(String, topics.SCENE_PROMPT, PROMPT_QOS)
        qos = state_qos(lock_step=self._parameters.lock_step, depth=1)
        self.create_subscription(PoseStamped, topics.POSE, self._on_pose, qos)
        self.create_subscription(String, topics.TELEOP_EVENT, self._on_event, 10)
        self.create_subscription(String, topics.SCENE_NOTE, self._on_note, 10)
        self.create_subscription(String, topics.SCENE_MILESTONE, self._on_milestone, 10)
        self._select = self.create_client(SelectSource, topics.SELECT_SOURCE)
        waiting = ReentrantCallbackGroup()
        self.create_service(ResetScene, topics.RESET_SCENE, self._on_reset, callback_group=waiting)
        self.create_service(ScoreTrial, topics.SCORE_TRIAL, self._on_score)
        for word in (READY, *VERDICTS):
            self.create_service(Trigger, topics.scene(word), partial(self._on_word, word))

    def _on_pose(self, message: PoseStamped) -> None:
        self._pose = message

    async def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            condition = wire.initial_condition(request.initial_condition)
        except ValueError as error:
            response.message = str(error)
            return response
        self._scene.lay_out(condition)
        self._asked += 1
        mine = self._asked
        self._let_operator_drive()
        lines = instructions(condition, self._marks)
        self._say(f"{condition.name}: {'; '.join(lines)}", cue="reset the scene")
        deadline_s = time.monotonic() + self._parameters.give_up_s

        def over() -> bool:
            return not self._scene.resetting or self._asked != mine

        while not over() and time.monotonic() < deadline_s:
            left_s = deadline_s - time.monotonic()
            await until(over, min(self._parameters.reset_s, left_s), nap_s=NAP_S)
            if not over():
                self._cue.say("the scene is not ready")
        if self._asked != mine:
            response.message = "another scene was asked for meanwhile"
        elif self._scene.start_ns is None:
            self._scene.give_up()
            response.message = (
                f"nobody said that the scene is ready ({topics.scene(READY)}, or the key for "
                f"{READY_EVENT!r}) within give_up_s {self._parameters.give_up_s:g} s"
            )
            self._say(response.message, cue="given up")
        else:
            response.success = True
            response.stamp = wire.time_message(self._scene.start_ns)
        return response

    def _let_operator_drive(self) -> None:
        """Hand the arm over for the reset; where the guard refuses, it says why itself."""
        if self._select.service_is_ready():
            self._select.call_async(SelectSource.Request(source=OPERATOR))

    def _on_score(
        self, request: ScoreTrial.Request, response: ScoreTrial.Response
    ) -> ScoreTrial.Response:
        judged = self._scene.score(self.get_clock().now().nanoseconds)
        response.message = judged.message
        if judged.scored is not None:
            response.valid = True
            response.success = judged.scored.success
            response.milestone = judged.scored.milestone
            response.steps = judged.scored.steps
        return response

    def _on_word(
        self, word: str, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.message = self._take(word)
        response.success = not response.message
        return response

    def _on_event(self, message: String) -> None:
        """Serve an operator's key; other events are for other nodes."""
        if message.data == READY_EVENT:
            self._take(READY)
        elif message.data in VERDICTS:
            self._take(message.data)

    def _take(self, word: str) -> str:
        """Take what the operator says; return why not, or ""."""
        now_ns = self.get_clock().now().nanoseconds
        if word == READY:
            pose = None if self._pose is None else wire.pose_matrix(self._pose.pose)
            refusal = self._scene.ready(pose, now_ns)
        else:
            refusal = self._scene.judge(word, now_ns)
        if refusal:
            self._say(f"not taken: {word!r}: {refusal}", cue="not taken")
        else:
            self._say("the trial begins" if word == READY else word, cue=word)
        return refusal

    def _on_note(self, message: String) -> None:
        self._scene.note(message.data)

    def _on_milestone(self, message: String) -> None:
        self._scene.reached(message.data)

    def _say(self, text: str, *, cue: str) -> None:
        self._prompt_out.publish(String(data=text))
        self.get_logger().info(text)
        self._diagnostics.ok(text)
        self._cue.say(cue)


def run() -> None:
    """Run the node."""
    main(SceneNode)


if __name__ == "__main__":
    run()
