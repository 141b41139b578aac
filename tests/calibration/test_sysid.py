"""System identification against a toy arm: a first-order lag with a delay, one axis of pushing."""

import dataclasses

import numpy as np
import pytest
from rlco_calibration import excite, sysid
from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import inverse_information
from rlco_calibration.recording import Recording, Track, load_all
from rlco_calibration.results import Quantities, Quantity, with_quantities
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.frames import delta_between, pose_matrix
from rlco_datasets.initial_condition import InitialCondition

TWIN = load_twin(demo_bench())
SUBSTEP_S = 0.02
START = (0.5, 0.0, 0.25)
TRUE = dataclasses.replace(
    TWIN, arm=dataclasses.replace(TWIN.arm, gain=0.85, stiffness=800.0, damping=90.0, delay_s=0.04)
)


def toy(twin, recording, mass=20.0, feels_damping=True):
    """Five substeps a period; a damped spring pulls a mass to a lagged, delayed target."""
    arm = twin.arm
    delay = round(arm.delay_s / SUBSTEP_S)
    followed = pose_matrix(recording.initial.tcp_position_m, recording.targets[0][:3, :3])
    position, velocity = followed[:3, 3].copy(), np.zeros(3)
    queue, poses, tick = [], [], 0
    damping = arm.damping * 5 if feels_damping else 400.0
    for target in recording.targets:
        queue.append((tick + delay, target))
        for _ in range(5):
            while queue and queue[0][0] <= tick:
                followed = followed.copy()
                step = delta_between(followed, queue.pop(0)[1])[:3]
                followed[:3, 3] += arm.gain * step
            pull = 4 * arm.stiffness * (followed[:3, 3] - position)
            velocity = (velocity + SUBSTEP_S / mass * pull) / (1 + SUBSTEP_S * damping / mass)
            position = position + SUBSTEP_S * velocity
            tick += 1
        poses.append(pose_matrix(position, recording.targets[0][:3, :3]))
    slid = 0.02 / max(twin.object_model("cube").friction, 1e-6)
    slide = np.linspace(0, slid, len(poses))
    cubes = np.stack([pose_matrix([0.5 + s, 0.0, 0.02], np.eye(3)) for s in slide])
    return Track(T_base_tcp=np.stack(poses), objects={"cube": cubes})


def simulate(jobs):
    return [toy(twin, recording) for twin, recording in jobs]


def test_a_push_speeds_up_and_is_drawn_back_within_the_longest_step():
    start, targets = excite.push((0.45, 0.02), 0.03, 0.4)
    along = np.array([np.cos(0.4), np.sin(0.4), 0.0])
    gone = (targets[:, :3, 3] - start) @ along
    steps = np.diff(gone)
    assert np.abs(steps).max() < 0.05
    stop = int(np.argmax(gone))
    assert (steps[:stop] > 0.04).all()
    assert steps[stop] < -0.04
    assert gone[-1] < gone[stop] - 0.08
    assert gone[-1] > 0
    np.testing.assert_allclose(targets[:, 2, 3], 0.03)


def recorded(seed, count=30, twin=TRUE, noise_m=0.0, simulator=toy):
    rng = np.random.default_rng(seed)
    recording = Recording(
        initial=InitialCondition(
            name=str(seed), task="push_cube", objects=(), tcp_position_m=START
        ),
        targets=excite.excitation(START, TWIN.workspace, rng, count),
        widths_m=np.zeros(count),
        track=Track(T_base_tcp=np.zeros((0, 4, 4)), objects={}),
    )
    track = simulator(twin, recording)
    poses = track.T_base_tcp.copy()
    poses[:, :3, 3] += rng.normal(0, noise_m, (count, 3))
    return dataclasses.replace(recording, track=dataclasses.replace(track, T_base_tcp=poses))


def by_name(found):
    return {item.name: item for item in found.quantities}


def test_the_arm_is_found_with_intervals_that_hold():
    recordings = [recorded(seed, noise_m=2e-4) for seed in range(3)]
    found = by_name(sysid.fit_arm(TWIN, recordings, simulate, substep_s=SUBSTEP_S))
    assert found["arm.delay_s"].value == pytest.approx(0.04)
    for name, truth in (("arm.gain", 0.85), ("arm.stiffness", 800.0), ("arm.damping", 90.0)):
        item = found[name]
        assert item.identified
        assert item.value == pytest.approx(truth, rel=0.05)
        assert (
            item.value - 2 * (item.high - item.low)
            < truth
            < item.value + 2 * (item.high - item.low)
        )


def test_a_parameter_that_moves_nothing_is_refused_and_the_twin_keeps_its_own():
    def blind(jobs):
        return [toy(twin, recording, feels_damping=False) for twin, recording in jobs]

    def record_blind(twin, recording):
        return toy(twin, recording, feels_damping=False)

    recordings = [recorded(seed, noise_m=2e-4, simulator=record_blind) for seed in range(2)]
    found = sysid.fit_arm(TWIN, recordings, blind, substep_s=SUBSTEP_S, most_delay_s=0.04)
    item = by_name(found)["arm.damping"]
    assert not item.identified
    assert "cannot tell" in item.source
    twin = with_quantities(TWIN, found)
    assert twin.arm.damping == TWIN.arm.damping
    assert twin.arm.gain != TWIN.arm.gain


def test_an_arm_that_did_not_move_is_named():
    still = recorded(0)
    held = dataclasses.replace(
        still, track=dataclasses.replace(still.track, T_base_tcp=still.targets[[0] * 30])
    )
    with pytest.raises(CalibrationError, match="reach it"):
        sysid.fit_arm(TWIN, [held, held], simulate, substep_s=SUBSTEP_S)


def test_one_recording_is_not_enough():
    with pytest.raises(CalibrationError, match="one of them to test"):
        sysid.fit_arm(TWIN, [recorded(0)], simulate, substep_s=SUBSTEP_S)


FRICTION = sysid.Parameter(
    name="objects.cube.friction",
    fields=("objects.cube.friction", "table.friction"),
    low=0.05,
    high=1.5,
)


def pushed(seed, friction):
    """A push of a cube with a friction."""
    quantity = Quantity(name=FRICTION.name, value=friction, std=0.1, low=0.1, high=1.0, source="t")
    return recorded(seed, twin=with_quantities(TRUE, Quantities(quantities=(quantity,))))


def test_friction_is_found_on_both_surfaces():
    truth = 0.27
    found = sysid.fit_friction(TRUE, FRICTION, [pushed(0, truth)], simulate)
    assert [item.name for item in found.quantities] == list(FRICTION.fields)
    assert found.quantities[0].value == pytest.approx(truth, rel=0.02)
    assert found.quantities[0].low < truth < found.quantities[0].high


def test_pushes_that_contradict_one_another_widen_the_interval_of_friction():
    alike = sysid.fit_friction(TRUE, FRICTION, [pushed(i, 0.3) for i in range(3)], simulate)
    apart = [pushed(0, 0.27), pushed(1, 0.3), pushed(2, 0.33)]
    unlike = sysid.fit_friction(TRUE, FRICTION, apart, simulate)
    widths = [item.quantities[0].high - item.quantities[0].low for item in (alike, unlike)]
    assert widths[1] > 2 * widths[0]
    assert unlike.quantities[0].low < 0.27
    assert unlike.quantities[0].high > 0.33


def test_recordings_come_back_as_they_were_kept(tmp_path):
    one = recorded(0)
    one.save(tmp_path / "00.npz")
    (back,) = load_all(tmp_path)
    np.testing.assert_array_equal(back.targets, one.targets)
    np.testing.assert_array_equal(back.track.objects["cube"], one.track.objects["cube"])
    assert back.initial == one.initial
    (tmp_path / "00.npz").write_bytes(b"half")
    with pytest.raises(CalibrationError, match="record again"):
        load_all(tmp_path)


def test_excitation_stays_inside_and_starts_small():
    targets = excite.excitation(START, TWIN.workspace, np.random.default_rng(1), 80)
    positions = targets[:, :3, 3]
    assert (positions > TWIN.workspace.low_m).all()
    assert (positions < TWIN.workspace.high_m).all()
    jumps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    assert jumps[:10].max() < 0.025
    assert jumps.max() > 0.03


def test_what_nothing_is_known_of_is_uncertain_and_the_rest_is_not():
    variances = np.diag(inverse_information(np.diag([4.0, 0.0, 1e6])))
    np.testing.assert_allclose(variances[[0, 2]], [0.25, 1e-6])
    assert variances[1] > 1e6
