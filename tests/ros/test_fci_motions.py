"""Which motions the fci driver asks franky for; the library is a stand-in that keeps a record."""

from types import SimpleNamespace

import numpy as np
import pytest
from rlco.drivers.arm.arm import ArmError
from rlco.drivers.arm.fci import FciArm
from rlco.parameters import ArmSettings, ParameterError

START = np.diag([1.0, -1.0, -1.0, 1.0])


class FrankyError(Exception):
    pass


class Motion:
    """A motion of any kind: its name, what it was made with, and its references."""

    def __init__(self, kind, *arguments, **options):
        self.kind, self.arguments, self.options, self.references = kind, arguments, options, []

    def set_reference(self, reference):
        self.references.append(reference)


class Robot:
    def __init__(self):
        self.moves, self.thresholds, self.fault, self.has_errors = [], None, "", False
        self.is_in_control, self.joined, self.clock_s = False, [], 0.0
        self.state = SimpleNamespace(O_T_EE=("measured",))

    def set_collision_behavior(self, *limits):
        self.thresholds = limits

    def poll_motion(self):
        if self.fault:
            self.is_in_control = False
            raise FrankyError(self.fault)

    def move(self, motion, *, asynchronous):
        assert asynchronous  # nothing may wait for a motion
        self.moves.append(motion)
        self.is_in_control = "Stop" not in motion.kind

    def join_motion(self, *, timeout):
        self.joined.append(timeout)
        return True

    @property
    def kinds(self):
        return [motion.kind for motion in self.moves]


@pytest.fixture
def arm():
    pytest.importorskip("franky", reason="needs franky-control's version (make setup-tests)")

    def make(**settings):
        robot = Robot()
        library = SimpleNamespace(
            Robot=lambda address, realtime_config: robot,
            RealtimeConfig=SimpleNamespace(Enforce=1, Ignore=0),
            RelativeDynamicsFactor=lambda share: share,
            Exception=FrankyError,
            Affine=lambda position, quaternion: tuple(position),
            CartesianReference=lambda target: target,
        )
        for kind in (
            "CartesianMotion",
            "CartesianStopMotion",
            "CartesianImpedanceTrackingMotion",
            "TorqueStopMotion",
        ):
            setattr(library, kind, lambda *a, kind=kind, **o: Motion(kind, *a, **o))
        settings = ArmSettings(driver="fci", address="127.0.0.1", **settings)
        return FciArm(settings, library, clock_s=lambda: robot.clock_s), robot

    return make


def at(x):
    pose = START.copy()
    pose[0, 3] = x
    return pose


def test_cartesian_motions_follow_one_another_at_the_share_of_the_limits(arm):
    driver, robot = arm(motion="cartesian", dynamics_factor=0.1, stop_factor=0.3)
    for x in (0.4, 0.41, 0.41):
        driver.follow(at(x))
    driver.hold()
    driver.hold()
    assert robot.kinds == ["CartesianMotion", "CartesianMotion", "CartesianStopMotion"]
    assert robot.moves[0].options["relative_dynamics_factor"] == 0.1
    assert robot.moves[2].options["relative_dynamics_factor"] == 0.3


def test_one_spring_serves_all_set_points_until_it_is_held(arm):
    driver, robot = arm(motion="impedance", stiffness_n_m=600.0, stiffness_nm_rad=30.0)
    for x in (0.4, 0.41, 0.42):
        driver.follow(at(x))
    (spring,) = robot.moves
    assert spring.kind == "CartesianImpedanceTrackingMotion"
    assert spring.options == {"translational_stiffness": 600.0, "rotational_stiffness": 30.0}
    assert [reference[0] for reference in spring.references] == [0.4, 0.41, 0.42]
    driver.hold()
    driver.follow(at(0.43))
    assert len(robot.moves) == 1
    assert [reference[0] for reference in spring.references[3:]] == ["measured", 0.43]


def test_the_spring_catches_the_arm_before_its_torques_are_let_go(arm):
    driver, robot = arm(motion="impedance")
    driver.follow(at(0.4))
    driver.hold()
    robot.clock_s = 0.09
    driver.hold()
    driver.check()
    assert robot.kinds == ["CartesianImpedanceTrackingMotion"]
    assert robot.moves[0].references[1:] == [("measured",)]
    robot.clock_s = 0.11
    driver.check()
    driver.check()
    assert robot.kinds == ["CartesianImpedanceTrackingMotion", "TorqueStopMotion"]
    driver.let_go()
    assert robot.joined
    driver.follow(at(0.42))
    assert robot.kinds[2:] == ["CartesianImpedanceTrackingMotion"]


@pytest.mark.parametrize("motion", ["cartesian", "impedance"])
def test_after_a_reflex_nothing_is_sent_and_nothing_cleared(arm, motion):
    driver, robot = arm(motion=motion)
    driver.follow(at(0.4))
    robot.fault = "cartesian_reflex"
    with pytest.raises(ArmError, match="stopped by itself: cartesian_reflex"):
        driver.follow(at(0.41))
    driver.hold()
    assert len(robot.moves) == 1  # a stand-in without recover_from_errors: a call would fail


def test_the_thresholds_of_the_bench_are_set_at_the_start(arm):
    _, robot = arm()
    settings = ArmSettings(driver="fci", address="127.0.0.1")
    assert robot.thresholds == (
        list(settings.lower_torque_nm),
        list(settings.upper_torque_nm),
        list(settings.lower_force),
        list(settings.upper_force),
    )


def test_another_motion_is_refused():
    with pytest.raises(ParameterError, match=r"one of \('cartesian', 'impedance'\), got 'joint'"):
        ArmSettings(driver="fci", address="127.0.0.1", motion="joint")
