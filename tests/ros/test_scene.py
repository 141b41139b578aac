"""Scenes laid out and trials judged by a person, as the evaluation sees them."""

import time

import numpy as np
import pytest
from rlco.core.scene import MarksError, OperatedScene, instructions, parse_marks
from rlco.core.trial import NO_TIME_LEFT, Scored, TrialClock
from rlco.parameters import ParameterError, SceneSettings
from rlco_datasets.contract import franka_compact
from rlco_datasets.frames import pose_matrix
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from ros_processes import NodeProcess, client, nodes
from ros_studies import write_study

CONTRACT = franka_compact()
P = CONTRACT.period_ns
REPEAT_S = 3.0
HALF_TURN = (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))
CONDITION = InitialCondition(
    name="c0",
    task="pick_and_place",
    objects=(
        ObjectPose(name="cube", position_m=(0.502, 0.101, 0.02), quaternion_wxyz=HALF_TURN),
        ObjectPose(name="bowl", position_m=(0.6, -0.2, 0.0)),
    ),
    tcp_position_m=(0.45, 0.0, 0.25),
    drawer_open=0.5,
)
AT_START = pose_matrix((0.45, 0.0, 0.26), np.diag([1.0, -1.0, -1.0]))
FAR = pose_matrix((0.45, 0.2, 0.25), np.diag([1.0, -1.0, -1.0]))


def test_the_operator_is_told_what_to_put_where():
    lines = instructions(CONDITION, parse_marks("2 = 0.40,0.10; 3=0.50,0.10;"))
    assert lines == (
        "put the cube at mark 3 (x 0.502, y 0.101 m), turned +90 deg",
        "put the bowl at x 0.600, y -0.200 m",
        "open the drawer by 50% of its travel",
        "move the open gripper to x 0.450, y 0.000, z 0.250 m, tool down",
    )


@pytest.mark.parametrize("text", ["3", "3=0.5", "=0.5,0.1", "3=a,b", "3=0.5,inf", "1=0,0;1=1,1"])
def test_marks_that_cannot_be_read_are_named(text):
    with pytest.raises(MarksError, match="is not NAME=X,Y"):
        parse_marks(text)
    with pytest.raises(ParameterError, match="parameter 'marks'"):
        SceneSettings(marks=text)


def laid_out():
    scene = OperatedScene(period_ns=P, tolerance_m=0.03)
    scene.lay_out(CONDITION)
    assert scene.ready(AT_START, 100 * P) == ""
    return scene


def test_the_arm_waits_for_the_operators_word_and_its_place():
    scene = OperatedScene(period_ns=P, tolerance_m=0.03)
    assert "no scene" in scene.ready(AT_START, 0)
    assert scene.judge("success", 0) == "no trial is under way"
    scene.lay_out(CONDITION)
    assert "0.200 m from where the trial begins" in scene.ready(FAR, 0)
    assert "not heard" in scene.ready(None, 0)
    assert scene.score(P).message == "no scene has been laid out yet"
    assert scene.resetting
    assert scene.ready(AT_START, 5 * P) == ""
    assert (scene.start_ns, scene.resetting) == (5 * P, False)
    assert "must be one of" in scene.judge("fine", 6 * P)


def test_the_last_verdict_counts_from_when_it_was_given():
    scene = laid_out()
    assert scene.score(103 * P).scored == Scored(success=False, milestone="start", steps=3)
    scene.reached(" grasped ")
    scene.note("slipped once")
    scene.judge("success", 120 * P)
    judged = scene.score(190 * P)
    assert judged.scored == Scored(success=True, milestone="success", steps=20)
    assert judged.message == "slipped once"
    scene.judge("failure", 130 * P)
    assert scene.score(190 * P).scored == Scored(
        success=False, milestone="grasped", steps=NO_TIME_LEFT
    )
    scene.judge("discard", 131 * P)
    judged = scene.score(190 * P)
    assert judged.scored is None
    assert judged.message == "the operator discards the trial: slipped once"
    scene.lay_out(CONDITION)
    assert scene.ready(AT_START, 200 * P) == ""
    assert scene.score(201 * P).scored == Scored(success=False, milestone="start", steps=1)


def test_a_failure_the_operator_sees_ends_the_trial_before_its_time(tmp_path):
    study = write_study(tmp_path / "study.yaml", CONTRACT, time_limit_s=30.0)
    clock = TrialClock(study, CONTRACT, start_ns=0)
    assert not clock.add(Scored(success=False, milestone="start", steps=2))
    assert clock.add(Scored(success=False, milestone="grasped", steps=NO_TIME_LEFT))
    assert clock.verdict == Scored(success=False, milestone="grasped", steps=clock.limit_steps)


class Operator:
    """Asks as the evaluation does, and answers as a person would."""

    def __init__(self, made, process):
        from geometry_msgs.msg import PoseStamped
        from rlco.nodes import topics
        from rlco.nodes.runtime import state_qos
        from rlco.nodes.scene import PROMPT_QOS
        from std_msgs.msg import String

        self.client, self.process = made, process
        self.prompts, self.services = [], {}
        node, keep = made.node, lambda message: self.prompts.append(message.data)
        node.create_subscription(String, topics.SCENE_PROMPT, keep, PROMPT_QOS)
        self.keys = node.create_publisher(String, topics.TELEOP_EVENT, 10)
        self.notes = node.create_publisher(String, topics.SCENE_NOTE, 10)
        qos = state_qos(lock_step=False)
        self.pose_out = node.create_publisher(PoseStamped, topics.POSE, qos)

    def until(self, done, what):
        self.client.until(done, f"{what}; prompts {self.prompts}; {self.process.output}")

    def ask_for(self, condition):
        from rlco.nodes import topics, wire
        from rlco_msgs.srv import ResetScene

        service = self.client.node.create_client(ResetScene, topics.RESET_SCENE)
        self.until(service.service_is_ready, "the node")
        message = wire.initial_condition_message(condition)
        return service.call_async(ResetScene.Request(initial_condition=message))

    def call(self, kind, name):
        """Ask again where no answer came: a new client may not be known to the node yet."""
        if name not in self.services:
            self.services[name] = self.client.node.create_client(kind, name)
        service, futures, asked_s = self.services[name], [], [0.0]
        self.until(service.service_is_ready, f"service {name}")

        def answered():
            if time.monotonic() - asked_s[0] > REPEAT_S:
                asked_s[0] = time.monotonic()
                futures.append(service.call_async(kind.Request()))
            return any(future.done() for future in futures)

        self.until(answered, f"an answer of {name}")
        return next(future.result() for future in futures if future.done())

    def say(self, word):
        from std_srvs.srv import Trigger

        return self.call(Trigger, f"scene/{word}").message

    def score(self):
        from rlco_msgs.srv import ScoreTrial

        return self.call(ScoreTrial, "lab/score_trial")

    def stands(self, pose, expected):
        from rlco.nodes import wire

        def told():
            self.pose_out.publish(wire.stamped_pose(pose, 1))
            return expected in self.say("ready")

        self.until(told, f"the answer {expected!r}")


@pytest.mark.ros
def test_a_trial_from_the_reset_to_the_verdict(domain, tmp_path):
    from std_msgs.msg import String

    parameters = {"lock_step": False, "cues": "none", "marks": "3=0.50,0.10", "reset_s": 1.0}
    process = NodeProcess("rlco.nodes.scene", parameters, tmp_path)
    with nodes(process), client() as made:
        operator = Operator(made, process)
        asked = operator.ask_for(CONDITION)
        operator.until(lambda: operator.prompts, "the prompt")
        assert operator.prompts[0].startswith("c0: put the cube at mark 3")
        operator.stands(FAR, "from where the trial begins")
        assert not asked.done()
        operator.stands(AT_START, "no scene is waiting" if asked.done() else "")
        operator.until(asked.done, "the answer to the reset")
        assert asked.result().success, asked.result().message
        assert asked.result().stamp.sec > 0
        assert (operator.score().valid, operator.score().success) == (True, False)

        def pressed():
            operator.keys.publish(String(data="success"))
            operator.notes.publish(String(data="neat"))
            return operator.score().success and "neat" in operator.score().message

        operator.until(pressed, "the operator's key and note")
        assert operator.say("discard") == ""
        scored = operator.score()
        assert (scored.valid, "discards the trial" in scored.message) == (False, True)
        assert process.end() == 0


@pytest.mark.ros
def test_a_scene_that_nobody_lays_out_is_given_up(domain, tmp_path):
    parameters = {"lock_step": False, "cues": "none", "give_up_s": 1.0, "reset_s": 1.0}
    process = NodeProcess("rlco.nodes.scene", parameters, tmp_path)
    with nodes(process), client() as made:
        operator = Operator(made, process)
        asked = operator.ask_for(CONDITION)
        operator.until(asked.done, "the node to give up")
        assert not asked.result().success
        assert "within give_up_s 1 s" in asked.result().message
        assert "no trial is under way" in operator.say("success")
        assert process.end() == 0
