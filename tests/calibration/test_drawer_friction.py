"""A drawer's friction against a toy: a compliant arm on a line pushes a drawer and lets it go."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rlco_calibration import drawer_friction, excite_drawer
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather_slides import pulled_out, slides
from rlco_calibration.parts import Provenance
from rlco_calibration.port import Reading
from rlco_calibration.recording import Recording, Track, load_all
from rlco_calibration.results import with_provenance
from rlco_calibration.twin import demo_bench, load_twin
from rlco_calibration.walk import Walk
from rlco_datasets.frames import pose_matrix

TWIN = load_twin(demo_bench())
MODEL = TWIN.drawers[0]
FRICTION, DAMPING = (
    f"drawers.drawer.{name}" for name in ("joint_friction_n", "joint_damping_n_s_per_m")
)
ALONG = np.array([np.cos(MODEL.yaw_rad), np.sin(MODEL.yaw_rad), 0.0])
HANDLE = MODEL.T_cabinet_handle
STEP_S, SUBSTEPS = 0.005, 20
REACH_M = 0.00875 + MODEL.handle_size_m[2] / 2
TRUE = replace(
    TWIN, drawers=(replace(MODEL, joint_friction_n=1.7, joint_damping_n_s_per_m=8.0, mass_kg=0.31),)
)
START = (0.45, -0.06, 0.22)


def closed_handle_m(twin):
    return (
        np.array([*twin.drawers[0].position_m[:2], 0.0])
        + ALONG * HANDLE[0, 3]
        + HANDLE[:3, 3] * [0, 0, 1]
    )


def toy(twin, recording):
    """The arm is pulled to its target by a spring and braked; what it pushes brakes it too."""
    model, stiff, brake = twin.drawers[0], 600.0, 60.0
    placed = [item for item in recording.initial.objects if item.name == "drawer"]
    closed = closed_handle_m(twin)
    if placed:
        closed = (placed[0].T_base_object @ HANDLE)[:3, 3]
    opened = recording.initial.drawer_open * model.travel_m
    hand, speed, tcp, handles = np.array(recording.initial.tcp_position_m), 0.0, [], []
    for target in recording.targets:
        for _ in range(SUBSTEPS):
            goal = target[:3, 3]
            low = hand[2] < HANDLE[2, 3] + 0.03
            behind = (closed - opened * ALONG - REACH_M * ALONG - hand) @ ALONG
            pull = stiff * (goal - hand)
            free = pull / brake
            if low and behind < 1e-4 and free @ ALONG > speed:
                resisted = max((pull @ ALONG - model.joint_friction_n), 0.0)
                pace = resisted / (brake + model.joint_damping_n_s_per_m)
                free = free + (pace - free @ ALONG) * ALONG
                speed = max(pace, 0.0)
            else:
                loss = model.joint_friction_n + model.joint_damping_n_s_per_m * speed
                speed = max(speed - STEP_S * loss / model.mass_kg, 0.0)
            hand = hand + STEP_S * free
            opened = max(opened - STEP_S * speed, 0.0)
        tcp.append(pose_matrix(hand, target[:3, :3]))
        handles.append(pose_matrix(closed - opened * ALONG, np.eye(3)))
    return Track(T_base_tcp=np.stack(tcp), objects={"drawer_handle": np.stack(handles)})


def simulate(jobs):
    return [toy(twin, recording) for twin, recording in jobs]


def pushed(index, periods, *, twin=TRUE, noise_m=0.0):
    condition = replace(pulled_out(TWIN, f"slide-{index}"), tcp_position_m=START)
    handle = closed_handle_m(TWIN) - MODEL.travel_m * ALONG
    targets = excite_drawer.slide(
        pose_matrix(START, np.diag([1.0, -1.0, -1.0])), handle, MODEL, floor_m=0.0, periods=periods
    )
    recording = Recording(
        initial=condition,
        targets=targets,
        widths_m=np.zeros(len(targets)),
        track=Track(T_base_tcp=targets, objects={}),
    )
    track = toy(twin, recording)
    rng = np.random.default_rng(index)
    for poses in (track.T_base_tcp, track.objects["drawer_handle"]):
        poses[:, :3, 3] += rng.normal(0, noise_m, (len(poses), 3))
    return replace(recording, track=track)


def weighed(std):
    """The twin to start from: its friction is wrong, its mass known so well."""
    model = replace(MODEL, mass_kg=TRUE.drawers[0].mass_kg)
    twin = replace(TWIN, drawers=(model,))
    return with_provenance(twin, Provenance(name="drawers.drawer.mass_kg", source="", std=(std,)))


def fitted(recordings, twin=None):
    start = weighed(0.002) if twin is None else twin
    found = drawer_friction.fit(start, start.drawers[0], recordings, simulate)
    return {item.name: item for item in found.quantities}, found.notes


def test_a_push_meets_the_bar_slowly_goes_at_one_speed_and_is_drawn_back():
    handle = closed_handle_m(TWIN) - MODEL.travel_m * ALONG
    start = pose_matrix(START, np.diag([1.0, -1.0, -1.0]))
    for periods in excite_drawer.PERIODS:
        targets = excite_drawer.slide(start, handle, MODEL, floor_m=0.0, periods=periods)
        moves = np.diff(targets[:, :3, 3], axis=0)
        assert np.linalg.norm(moves, axis=-1).max() < 0.05, "the longest step of the contract"
        ahead = (targets[:, :3, 3] - handle) @ ALONG + REACH_M
        low = np.abs(targets[:, 2, 3] - HANDLE[2, 3]) < 1e-9
        assert ahead[low][0] == pytest.approx(-excite_drawer.AWAY_M), "it goes down clear of it"
        furthest = int(np.argmax(np.where(low, ahead, -1.0)))
        assert 0.03 < ahead[furthest] <= excite_drawer.STROKE * MODEL.travel_m + 1e-9
        push = np.diff(ahead[furthest - periods : furthest + 1])
        np.testing.assert_allclose(push, push[0])
        np.testing.assert_allclose(
            ahead[furthest] - ahead[furthest + 2], 2 * push[0], err_msg="drawn back as fast"
        )
        assert targets[-1, 2, 3] > MODEL.size_m[2] + 0.05, "it ends over the cabinet"
    assert (np.diff(excite_drawer.PERIODS) < 0).all(), "slow first"


def test_friction_and_damping_are_found_with_intervals_that_hold():
    recordings = [pushed(i, n, noise_m=5e-5) for i, n in enumerate(excite_drawer.PERIODS)]
    found, (note,) = fitted(recordings)
    assert set(found) == {FRICTION, DAMPING}
    for name, truth in ((FRICTION, 1.7), (DAMPING, 8.0)):
        item = found[name]
        assert item.identified, item.source
        assert item.value == pytest.approx(truth, rel=0.1)
        assert item.low <= truth <= item.high
    after, before = (
        float(note.split("error ")[1].split()[0]),
        float(note.split("before ")[1].split()[0]),
    )
    assert after < 0.5 * before


def test_one_slow_speed_does_not_tell_friction_from_damping():
    found, _ = fitted([pushed(i, 9, noise_m=2e-4) for i in range(3)])
    assert not found[DAMPING].identified
    assert "the pushes of the drawer cannot tell it" in found[DAMPING].source


def test_a_mass_that_is_hardly_known_widens_the_interval():
    recordings = [pushed(i, n) for i, n in enumerate((6, 3, 2))]
    sure, unsure = fitted(recordings)[0], fitted(recordings, weighed(0.2))[0]

    def width(item):
        return np.log(item.high / item.low)

    assert width(unsure[DAMPING]) > 1.1 * width(sure[DAMPING])


def test_where_the_fingers_meet_the_bar_hardly_counts():
    recording = pushed(0, 3)
    track = recording.track
    moved = {name: poses.copy() for name, poses in track.objects.items()}
    moved["drawer_handle"][:, :3, 3] += 0.004 * ALONG
    compare = partial(drawer_friction.slide_errors, "drawer_handle", track)
    np.testing.assert_allclose(compare(replace(track, objects=moved)), 0.0, atol=1e-9)
    stuck = np.repeat(track.objects["drawer_handle"][:1], len(track.T_base_tcp), axis=0)
    assert np.abs(compare(replace(track, objects={"drawer_handle": stuck}))).max() > 50


def test_a_replay_starts_with_the_handle_where_it_was_seen():
    recording = pushed(0, 3)
    poses = recording.track.objects["drawer_handle"].copy()
    poses[:, :3, 3] += [0.003, -0.002, 0.001]
    seen = replace(recording, track=replace(recording.track, objects={"drawer_handle": poses}))
    longer = replace(MODEL, travel_m=MODEL.travel_m + 0.002)
    stood = drawer_friction.standing(TWIN, longer, seen).initial
    (cabinet,) = [item for item in stood.objects if item.name == "drawer"]
    assert cabinet.position_m[2] == TWIN.table.height_m
    bar = cabinet.T_base_object @ HANDLE
    bar[:3, 3] -= stood.drawer_open * longer.travel_m * ALONG
    np.testing.assert_allclose(bar[:2, 3], poses[0, :2, 3], atol=1e-6)


def test_pushes_that_cannot_be_used_are_named():
    good = [pushed(i, n) for i, n in enumerate((6, 3, 2))]
    poses = good[0].track.objects["drawer_handle"]
    still = np.repeat(poses[:1], len(poses), axis=0)
    shut = still.copy()
    shut[-1, :3, 3] += 0.99 * MODEL.travel_m * ALONG

    def instead(objects):
        return [replace(good[0], track=replace(good[0].track, objects=objects)), *good[1:]]

    for recordings, words in (
        (good[:2], "2 pushes of the drawer: at least 3"),
        (instead({}), "'drawer_handle' was not tracked"),
        (instead({"drawer_handle": still}), r"slide-0: the drawer moved by 0\.0 mm only"),
        (instead({"drawer_handle": shut}), "ran into its stop"),
    ):
        with pytest.raises(CalibrationError, match=words):
            drawer_friction.fit(TWIN, MODEL, recordings, simulate)


class ToyPort:
    """A bench that goes where it is sent, with or without a tracker."""

    def __init__(self, handle=None):
        self._handle, self.laid_out = handle, []
        self._tcp = pose_matrix(START, np.diag([1.0, -1.0, -1.0]))

    def lay_out(self, condition):
        self.laid_out.append(condition)

    def read(self):
        return Reading(stamp_ns=0, T_base_tcp=self._tcp, width_m=0.0)

    def command(self, target, width_m):
        self._tcp = target
        return target

    def objects(self):
        return {} if self._handle is None else {"drawer_handle": self._handle}


def test_pushes_are_collected_once_slow_first_and_need_a_tracker(tmp_path):
    walk = Walk(tmp_path, TWIN, lambda line: None)
    with pytest.raises(CalibrationError, match="needs a tracker of its handle"):
        slides(ToyPort(), walk, lambda line: None)
    assert not walk.wanted("slides")
    port = ToyPort(pose_matrix(closed_handle_m(TWIN) - MODEL.travel_m * ALONG, np.eye(3)))
    slides(port, walk, lambda line: None)
    assert [start.drawer_open for start in port.laid_out] == [1.0] * len(excite_drawer.PERIODS)
    lengths = [len(item.targets) for item in load_all(tmp_path / "slides")]
    assert lengths == sorted(lengths, reverse=True)
    slides(port, walk, lambda line: None)
    assert len(port.laid_out) == len(excite_drawer.PERIODS)
    assert walk.wanted("slides")
    with pytest.raises(CalibrationError, match="do the step `arm` first"):
        walk.slides(simulate)
