"""From chunks to targets: scheduler, integrator and driver."""

from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rlco.core.driver import Observed, PolicyDriver
from rlco.core.latency import MotionWatch, summary_ms
from rlco.core.scheduler import (
    BLENDINGS,
    ActionScheduler,
    ChunkError,
    EnsemblingScheduler,
    scheduler_for,
)
from rlco.core.targets import TargetIntegrator, UnsafeActionError
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_datasets.frames import delta_between, pose_matrix

CONTRACT = franka_compact()
P = CONTRACT.period_ns
START = pose_matrix((0.5, 0.0, 0.2), np.diag([1.0, -1.0, -1.0]))
LOW, HIGH = (0.3, -0.3, 0.01), (0.8, 0.3, 0.5)

finite = st.floats(-1, 1, allow_nan=False)
actions = hnp.arrays(float, (7,), elements=finite)


def chunk(value=0.0, contract=CONTRACT):
    actions = np.full((contract.horizon, 7), value)
    actions[:, 0] = 0.001 * np.arange(contract.horizon)
    return actions


def integrator():
    made = TargetIntegrator(CONTRACT, LOW, HIGH)
    made.start(START, 0.08)
    return made


def observed(step, width_m=0.08):
    image = np.zeros((64, 64, 3), np.uint8)
    return Observed(
        stamp_ns=step * P, images={"third_person": image}, T_base_tcp=START, width_m=width_m
    )


def test_actions_are_due_at_their_absolute_times():
    scheduler = ActionScheduler(CONTRACT)
    scheduler.accept(chunk(), 1000 * P)
    due = [scheduler.action(stamp * P)[0] for stamp in range(1000, 1004)]
    assert due == pytest.approx([0.0, 0.001, 0.002, 0.003])
    assert scheduler.action(1004 * P) is None
    assert scheduler.action(999 * P) is None


@given(st.integers(0, 3), st.floats(-0.49, 0.49))
def test_a_jittered_stamp_gets_the_nearest_action(step, jitter):
    scheduler = ActionScheduler(CONTRACT)
    scheduler.accept(chunk(), 0)
    assert scheduler.action(round((step + jitter) * P))[0] == pytest.approx(0.001 * step)


def test_a_late_answer_skips_what_is_past():
    contract = franka_third_person()
    scheduler = ActionScheduler(contract)
    scheduler.accept(chunk(contract=contract), 0)
    assert scheduler.action(5 * contract.period_ns)[0] == pytest.approx(0.005)


def test_the_next_chunk_is_due_when_the_executed_part_ends():
    scheduler = ActionScheduler(CONTRACT)
    assert scheduler.needs_chunk(0)
    scheduler.accept(chunk(), 0)
    assert [scheduler.needs_chunk(k * P) for k in range(5)] == [False] * 4 + [True]
    assert scheduler.needs_chunk(3 * P, lead_steps=1)
    scheduler.clear()
    assert scheduler.action(0) is None


def test_a_chunk_of_another_contract_is_refused():
    scheduler = ActionScheduler(CONTRACT)
    with pytest.raises(ChunkError, match=r"shape \(8, 7\), the contract 'franka_compact'"):
        scheduler.accept(np.zeros((8, 7)), 0)
    scheduler.accept(chunk(), 5)
    with pytest.raises(ChunkError, match="answered the observation of 4 ns after"):
        scheduler.accept(chunk(), 4)


@given(st.lists(actions, min_size=1, max_size=20))
def test_targets_keep_the_limits_and_the_workspace(sequence):
    made = integrator()
    previous = made.target.T_base_target
    for action in sequence:
        target = made.advance(action)
        delta = delta_between(previous, target.T_base_target)
        assert np.linalg.norm(delta[:3]) <= CONTRACT.max_translation_m + 1e-9
        assert np.linalg.norm(delta[3:]) <= CONTRACT.max_rotation_rad + 1e-9
        position = target.T_base_target[:3, 3]
        assert (position >= np.array(LOW) - 1e-12).all()
        assert (position <= np.array(HIGH) + 1e-12).all()
        assert 0 <= target.width_m <= CONTRACT.gripper_max_width_m
        previous = target.T_base_target


@given(actions)
def test_targets_agree_with_the_twin(action):
    control = pytest.importorskip("rlco_trainer.twin.control")
    from rlco_calibration.parts import Workspace
    from rlco_datasets.frames import apply_delta

    clipped = control.clip_action(action, CONTRACT)
    expected = control.clip_to_workspace(
        apply_delta(START, clipped[:6]), Workspace(low_m=LOW, high_m=HIGH)
    )
    target = integrator().advance(action)
    np.testing.assert_allclose(target.T_base_target, expected, atol=1e-12)
    assert target.width_m == pytest.approx(clipped[6] * CONTRACT.gripper_max_width_m)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", range(7))
def test_no_value_that_is_not_finite_is_ever_executed(bad, index):
    made = integrator()
    before = made.target
    action = np.zeros(7)
    action[index] = bad
    with pytest.raises(UnsafeActionError, match="7 finite numbers"):
        made.advance(action)
    assert made.target is before


def test_a_measured_state_that_is_not_finite_is_refused():
    made = TargetIntegrator(CONTRACT, LOW, HIGH)
    with pytest.raises(UnsafeActionError, match="no measured pose"):
        _ = made.target
    with pytest.raises(UnsafeActionError, match="measured state is not finite"):
        made.start(START * np.nan, 0.08)
    with pytest.raises(UnsafeActionError, match="measured state is not finite"):
        made.start(START, np.nan)


def test_a_workspace_inside_out_is_refused():
    with pytest.raises(ValueError, match="must be below high"):
        TargetIntegrator(CONTRACT, HIGH, LOW)


def test_in_lock_step_the_policy_is_asked_once_a_chunk():
    asked = []

    def ask(observation, step, ahead):
        asked.append((observation.stamp_ns // P, step))
        assert observation.state.shape == (10,)
        return chunk()

    driver = PolicyDriver(CONTRACT, integrator(), ask)
    for step in range(9):
        assert driver.asks_at(step * P) == (step % 4 == 0)
        driver.step(observed(step))
    assert asked == [(0, 0), (4, 4), (8, 8)]
    assert (driver.steps, driver.held) == (9, 0)


class OneByOne:
    """An executor whose work ends when the test says so."""

    def __init__(self):
        self.work = []

    def submit(self, function, *arguments):
        future = Future()
        self.work.append((future, function, arguments))
        return future

    def finish(self):
        future, function, arguments = self.work.pop()
        try:
            future.set_result(function(*arguments))
        except ValueError as error:
            future.set_exception(error)


def stepped(driver, step, at_ns=None):
    """One control period by the wall clock, as the policy node goes through it."""
    at_ns = step * P if at_ns is None else at_ns
    target = driver.step(observed(step), at_ns)
    driver.ask_ahead(observed(step), at_ns)
    return target


def test_by_the_wall_clock_a_late_answer_holds_and_then_skips_ahead():
    executor = OneByOne()
    driver = PolicyDriver(
        CONTRACT, integrator(), lambda seen, step, ahead: chunk(), executor=executor, lead_steps=1
    )
    for step in (0, 1):  # nothing answered yet
        assert stepped(driver, step).T_base_target == pytest.approx(START)
    executor.finish()
    second = stepped(driver, 2).T_base_target  # action 2 of the chunk observed at 0
    assert second[0, 3] - START[0, 3] == pytest.approx(0.002)
    assert not executor.work
    stepped(driver, 3)
    assert len(executor.work) == 1  # asked one step before the executed part ends
    assert driver.held == 2


def test_an_error_of_the_background_request_reaches_the_caller():
    executor = OneByOne()

    def ask(seen, step, ahead):
        raise ValueError("server down")

    driver = PolicyDriver(CONTRACT, integrator(), ask, executor=executor)
    stepped(driver, 0)
    executor.finish()
    with pytest.raises(ValueError, match="server down"):
        stepped(driver, 1)


def constant(value):
    actions = np.zeros((CONTRACT.horizon, 7))
    actions[:, 0] = value
    return actions


def test_ensembling_averages_what_covers_the_time_oldest_first():
    scheduler = EnsemblingScheduler(CONTRACT, decay=0.5)
    assert scheduler.needs_chunk(0)
    scheduler.accept(constant(1.0), 0)
    scheduler.accept(constant(2.0), 2 * P)
    assert scheduler.needs_chunk(2 * P)
    assert scheduler.action(1 * P)[0] == pytest.approx(1.0)
    weights = np.exp([0.0, -0.5])
    assert scheduler.action(3 * P)[0] == pytest.approx(weights @ [1.0, 2.0] / weights.sum())
    assert scheduler.action(5 * P)[0] == pytest.approx(2.0)
    assert scheduler.action(6 * P) is None
    scheduler.clear()
    assert scheduler.action(3 * P) is None


@given(st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=12), st.floats(0, 2))
def test_an_ensemble_stays_between_its_chunks(values, decay):
    scheduler = EnsemblingScheduler(CONTRACT, decay=decay)
    for number, value in enumerate(values):
        scheduler.accept(constant(value), number * P)
        recent = values[max(0, number + 1 - CONTRACT.horizon) : number + 1]
        action = scheduler.action(number * P)
        assert min(recent) - 1e-12 <= action[0] <= max(recent) + 1e-12


def test_what_is_ahead_is_what_no_answer_would_change():
    scheduler = ActionScheduler(CONTRACT)
    assert scheduler.ahead(0).shape == (0, 7)
    scheduler.accept(chunk(), 0)
    np.testing.assert_array_equal(scheduler.ahead(P), chunk()[1:])
    assert scheduler.ahead(9 * P).shape == (0, 7)


def test_blendings_are_chosen_by_name():
    kinds = {name: type(scheduler_for(name, CONTRACT)) for name in BLENDINGS}
    assert kinds == {
        "wait": ActionScheduler,
        "ensemble": EnsemblingScheduler,
        "rtc": ActionScheduler,
    }
    with pytest.raises(ValueError, match="got 'mix'"):
        scheduler_for("mix", CONTRACT)


def test_by_the_wall_clock_the_policy_learns_what_is_ahead_and_how_long_it_takes():
    executor, told = OneByOne(), []

    def ask(seen, step, ahead):
        told.append((seen.stamp_ns // P, len(ahead.actions), ahead.delay_s))
        return chunk()

    driver = PolicyDriver(CONTRACT, integrator(), ask, executor=executor, lead_steps=2)
    stepped(driver, 0, 1 * P)
    executor.finish()
    stepped(driver, 2, 3 * P)  # the answer to 0 is first used at 3: it took 3 periods
    assert driver.delays_ns == [3 * P]
    executor.finish()
    assert told == [(0, 0, 0.0), (2, 2, pytest.approx(3 * CONTRACT.period_s))]


def test_an_observation_is_asked_about_once():
    executor = OneByOne()
    driver = PolicyDriver(CONTRACT, integrator(), lambda *_: chunk(), executor=executor)
    stepped(driver, 0, 0)
    executor.finish()
    stepped(driver, 0, 9 * P)  # the bench has said nothing new
    assert not executor.work
    assert driver.held == 2
    stepped(driver, 10, 10 * P)
    assert len(executor.work) == 1


def test_the_motion_is_noticed_when_the_arm_has_left_its_place():
    watch = MotionWatch()
    assert watch.told == "no motion seen"
    moved = START.copy()
    watch.see(10 * P, START, 9 * P)
    moved[0, 3] += 0.0004
    watch.see(11 * P, moved, 9 * P)
    assert watch.latency_ns is None
    moved[0, 3] += 0.0002
    for stamp in (12, 13):
        watch.see(stamp * P, moved, 9 * P)
    assert watch.latency_ns == 3 * P
    assert watch.told == f"observation to motion {3 * P / 1e6:.0f} ms"
    assert summary_ms([10_000_000, 20_000_000, 30_000_000]) == "p50 20 ms, p99 30 ms"
