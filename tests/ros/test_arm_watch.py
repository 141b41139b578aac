"""The arm driver's own watchdog, with a clock that the test moves; settings; the version table."""

import pytest
from rlco.core.arm_watch import ArmWatch
from rlco.drivers.arm import support
from rlco.drivers.arm.arm import ArmError
from rlco.drivers.arm.fci import connect
from rlco.parameters import ArmSettings, ParameterError


class Line:
    """A watch, and a guard that speaks every 50 ms."""

    def __init__(self):
        self.now_s = 10.0
        self.watch = ArmWatch(
            command_timeout_s=0.15, guard_timeout_s=0.15, clock_s=lambda: self.now_s
        )
        self.handed_over_ns = 1

    def guard(self, source="teleop", stopped=False, reason=""):
        self.watch.hear_guard(
            source, stopped=stopped, reason=reason, handed_over_ns=self.handed_over_ns
        )

    def hand_over(self):
        self.handed_over_ns += 1
        self.guard()

    def run(self, seconds, *, guard=True, commands=True):
        """Let time go by; return when it held the arm, or None."""
        for step in range(round(seconds / 0.01)):
            self.now_s += 0.01
            if guard and step % 5 == 0:
                self.guard()
            if commands and step % 5 == 0:
                self.watch.follow()
            if self.watch.check():
                return (step + 1) * 0.01
        return None


def test_nothing_is_followed_before_a_guard_is_heard():
    line = Line()
    assert not line.watch.follow()
    line.guard("none")
    assert not line.watch.follow()
    line.guard("teleop")
    assert line.watch.follow()


def test_while_both_speak_the_arm_follows():
    line = Line()
    line.hand_over()
    assert line.run(5.0) is None


@pytest.mark.parametrize(
    ("alive", "reason"),
    [({"guard": False}, "guard/state was not heard"), ({"commands": False}, "no set-point came")],
)
def test_silence_holds_the_arm_in_time_and_until_a_hand_over(alive, reason):
    line = Line()
    line.hand_over()
    line.run(0.5)
    held_after_s = line.run(1.0, **alive)
    assert 0.1 <= held_after_s <= 0.17
    assert reason in line.watch.reason
    line.run(0.5)  # both are back
    assert not line.watch.follow()
    line.hand_over()
    assert line.watch.follow()
    assert line.run(0.5) is None


def test_an_idle_arm_waits_for_its_first_set_point():
    line = Line()
    line.hand_over()
    assert line.run(5.0, commands=False) is None
    line.run(0.1)
    for source, reason in (("none", ""), ("teleop", "the operator has let go")):
        line.guard(source, reason=reason)  # silence is what is expected
        assert not line.watch.open
        assert not line.watch.follow()
        assert line.run(5.0, guard=False, commands=False) is None
    line.guard()
    assert line.watch.follow()


def test_a_stopped_guard_holds_until_it_resumes():
    line = Line()
    line.hand_over()
    line.run(0.2)
    line.guard(stopped=True, reason="e-stop")
    assert line.watch.reason == "the guard has stopped: e-stop"
    assert not line.watch.follow()
    line.guard()  # not stopped, but nobody handed over
    assert line.watch.held
    line.hand_over()
    assert line.watch.follow()


def test_an_error_of_the_robot_keeps_its_first_reason():
    line = Line()
    line.hand_over()
    line.watch.hold("reflex")
    line.watch.hold("later")
    assert line.watch.reason == "reflex"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"driver": "ros1"}, "arm driver must be one of"),
        ({}, "'address' must be set"),
        ({"address": "a", "dynamics_factor": 2.0}, "dynamics_factor"),
        ({"address": "a", "upper_force": (1.0,) * 6}, "none above its upper one"),
        ({"address": "a", "lower_torque_nm": (1.0,) * 6}, "must be 7 numbers each"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        ArmSettings(**changes)


def test_a_robot_that_does_not_answer_is_given_up_with_a_hint():
    import threading

    forever = threading.Event()
    with pytest.raises(ArmError, match=r"no answer from the robot at 1.2.3.4 .*another\s+program"):
        connect(forever.wait, "1.2.3.4", timeout_s=0.05, what="robot")
    forever.set()


def test_a_server_of_another_version_is_told_what_to_install():
    class IncompatibleVersionException(Exception):  # noqa: N818 - franky's name
        pass

    def refuse():
        raise IncompatibleVersionException("server version 9, library version 10")

    with pytest.raises(ArmError, match=r"server version 9[\s\S]*5.7.2 to 5.8.*libfranka 0.15"):
        connect(refuse, "1.2.3.4", timeout_s=5.0, what="robot")


def test_the_versions_of_the_table():
    assert support.server_version("2.0.0") == "10"
    assert support.server_version("9.9") == "unknown"
    assert len(support.matrix().splitlines()) == len(support.SUPPORTED) == 3
