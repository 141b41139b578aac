"""The gate: contract, camera, motions and replayed demonstrations, without a simulator."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes.episodes import make_episode
from hypothesis import given
from hypothesis import strategies as st
from rlco_calibration import cli
from rlco_calibration.board import Board
from rlco_calibration.captures import CaptureFolder, Session
from rlco_calibration.check import check
from rlco_calibration.check_demos import compare, crossings_s, verdicts
from rlco_calibration.check_limits import Limit, Thresholds
from rlco_calibration.demonstration import EXECUTED, Replayed, of_episode, read
from rlco_calibration.recording import Track
from rlco_calibration.simulators import View
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_datasets.episode import Episode
from rlco_datasets.frames import apply_delta, pose_from_quaternion, quaternion_wxyz
from rlco_datasets.store import EpisodeStore

TWIN = load_twin(demo_bench())
CONTRACT = franka_compact()
CUBE = np.tile([0.5, 0.1, 0.02, 1.0, 0.0, 0.0, 0.0], (12, 1))


class Obedient:
    """A twin whose arm goes where it is sent, `off_m` beside it; fingers too, `late` steps late."""

    substep_s = 0.02

    def __init__(self, *, off_m=0.0, late=0, solves=True):
        self.off_m, self.late, self.solves = off_m, late, solves

    def __call__(self, jobs):
        return [
            Track(T_base_tcp=recording.targets, objects=recording.track.objects)
            for _, recording in jobs
        ]

    def view(self, twin, camera, T_base_tcp):
        return View(frame=np.full((240, 320, 3), 90, np.uint8), labels=np.zeros((240, 320), int))

    def demonstrate(self, twin, demonstration):
        moved = demonstration.targets.copy()
        moved[:, 0, 3] += self.off_m
        # the made-up episodes' fingers are where a command sends them as it is given
        widths = np.append(demonstration.widths_m[1:], demonstration.widths_m[-1])
        held = np.concatenate([np.repeat(widths[:1], self.late), widths])[: len(widths)]
        objects = {name: poses + 0 for name, poses in demonstration.track.objects.items()}
        for poses in objects.values():
            poses[:, 1, 3] += self.off_m
        return Replayed(
            track=Track(T_base_tcp=moved, objects=objects), widths_m=held, succeeded=self.solves
        )


def levels(found):
    return {verdict.name: verdict.level for verdict in found}


@pytest.fixture
def demos(tmp_path):
    """Four demonstrations of 12 steps whose operator's noise is not part of the action."""
    path = tmp_path / "real.zarr"
    with EpisodeStore.create(path, CONTRACT) as store:
        for seed in range(4):
            store.append(make_episode(CONTRACT, 12, seed, task="pick_place", extras=False))
    return path


def replayed(demos, **kwargs):
    simulator = Obedient(**kwargs)
    found = []
    for demo in read(EpisodeStore.open(demos), most=10):
        replay = simulator.demonstrate(TWIN, demo.recording)
        found.append(compare(demo, replay, CONTRACT.period_s))
    return found


def test_a_twin_of_another_contract_fails(tmp_path):
    found = check(tmp_path, TWIN, franka_third_person(), Obedient(), Thresholds())
    assert levels(found)["contract"] == "fail"
    assert "calibrate again" in str(found[0])
    assert levels(found)["motion"] == levels(found)["replay"] == "warn"
    assert levels(check(tmp_path, TWIN, CONTRACT, Obedient(), Thresholds()))["contract"] == "pass"
    assert TWIN.id in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_a_camera_that_never_saw_the_board_fails(tmp_path):
    folder = CaptureFolder(
        tmp_path / "captures" / "third_person",
        Session(camera="third_person", board=Board(), board_place="gripper"),
    )
    frame = np.full((240, 320, 3), 90, np.uint8)
    folder.add(frame, np.eye(4), frame_stamp_ns=1, pose_stamp_ns=1)
    found = check(tmp_path, TWIN, CONTRACT, Obedient(), Thresholds())
    assert levels(found)["third_person points"] == "fail"


def test_a_faithful_replay_passes_and_is_plotted(tmp_path, demos):
    found = check(tmp_path, TWIN, CONTRACT, Obedient(), Thresholds(), demos=[demos])
    told = {name: level for name, level in levels(found).items() if "replay" in name}
    assert told == {
        f"pick_place replay, {item}": "pass"
        for item in ("position", "rotation", "gripper", "outcome")
    }
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 4 * 4 * 2
    assert "real.zarr episode 3" in page
    assert "solves the task" in page


def test_an_arm_that_goes_elsewhere_is_told_in_millimetres(demos):
    found = replayed(demos, off_m=0.01)
    told = {verdict.name: verdict for verdict in verdicts(found, Thresholds())}
    position = told["pick_place replay, position"]
    assert position.level == "warn"
    assert "10.0 mm off (rms), 10.0 mm at most in 95%" in position.measured
    assert "identify the arm" in str(position)
    assert verdicts(replayed(demos, off_m=0.02), Thresholds())[0].level == "fail"


def test_fingers_that_are_late_are_told_in_seconds(demos):
    (gripper,) = [v for v in verdicts(replayed(demos, late=2), Thresholds()) if "grip" in v.name]
    assert gripper.level == "warn"
    assert "0.20 s" in gripper.measured
    (stuck,) = [v for v in verdicts(replayed(demos, late=11), Thresholds()) if "grip" in v.name]
    assert stuck.level == "fail"
    assert "as often" in stuck.measured


def test_demonstrations_that_do_not_solve_the_task_in_the_twin_fail(demos):
    found = levels(verdicts(replayed(demos, solves=False), Thresholds()))
    assert found["pick_place replay, outcome"] == "fail"


def test_objects_are_compared_where_the_store_knows_them():
    episode = make_episode(CONTRACT, 12, extras=False)
    known = Episode(**{**vars(episode), "extras": {"object_cube": CUBE}})
    demo = of_episode(known, CONTRACT, "one")
    error = compare(demo, Obedient(off_m=0.03).demonstrate(TWIN, demo.recording), 0.1)
    assert error.object_mm == pytest.approx(30)
    (objects,) = [v for v in verdicts([error], Thresholds()) if "objects" in v.name]
    assert objects.level == "warn"
    without = of_episode(episode, CONTRACT, "two")
    assert compare(without, Obedient().demonstrate(TWIN, without.recording), 0.1).object_mm is None


def test_what_was_executed_is_replayed_where_it_is_not_the_action():
    episode = make_episode(CONTRACT, 12, extras=False)
    rng = np.random.default_rng(3)
    target, executed = pose_from_quaternion((0.45, 0.0, 0.25), (0.0, 1.0, 0.0, 0.0)), []
    for _ in range(12):
        target = apply_delta(target, rng.uniform(-0.02, 0.02, 6))
        executed.append(np.concatenate([target[:3, 3], quaternion_wxyz(target[:3, :3])]))
    noisy = Episode(**{**vars(episode), "extras": {EXECUTED: np.stack(executed)}})
    recording = of_episode(noisy, CONTRACT, "noisy").recording
    np.testing.assert_allclose(recording.targets[-1][:3, 3], executed[-2][:3])
    clean = of_episode(episode, CONTRACT, "clean").recording
    np.testing.assert_allclose(clean.targets[:, :3, 3], clean.track.T_base_tcp[:, :3, 3], atol=1e-6)


def test_a_demonstration_starts_at_its_first_frame():
    recording = of_episode(make_episode(CONTRACT, 12), CONTRACT, "one").recording
    np.testing.assert_allclose(recording.initial.tcp_position_m, (0.45, 0.0, 0.25), atol=1e-6)
    assert len(recording.targets) == len(recording.track.T_base_tcp) == 11


def test_demonstrations_are_spread_over_the_store_and_need_a_start(tmp_path):
    with EpisodeStore.create(tmp_path / "s.zarr", CONTRACT) as store:
        for seed in range(6):
            episode = make_episode(CONTRACT, 4, seed)
            if seed == 5:
                about = replace(episode.metadata, initial_condition=None)
                episode = Episode(**{**vars(episode), "metadata": about})
            store.append(episode)
    names = [demo.name for demo in read(EpisodeStore.open(tmp_path / "s.zarr"), most=3)]
    assert names == ["s.zarr episode 0", "s.zarr episode 2", "s.zarr episode 4"]


@given(st.floats(0.05, 1.85), st.booleans())
def test_crossings_are_found_between_the_samples(at_s, opening):
    times = np.arange(0.0, 2.0, 0.1)
    widths = np.clip(0.04 + 0.1 * (times - at_s), 0.0, 0.08)
    found = crossings_s(widths if opening else 0.08 - widths, 0.04, 0.1)
    assert [flag for _, flag in found] == [opening]
    assert math.isclose(found[0][0], at_s, abs_tol=1e-6)


def test_the_command_line_takes_thresholds_and_fails_with_status_1(
    tmp_path, demos, monkeypatch, capsys
):
    spec.save(TWIN, tmp_path / "twin.yaml")
    strict = Thresholds(demo_position_mm=Limit(good=0.5, bad=1.0))
    spec.save(strict, tmp_path / "limits.yaml")
    monkeypatch.setattr("rlco_calibration.steps.simulator", lambda _: Obedient(off_m=0.002))
    arguments = ["rlco-calibrate", "check", "--folder", str(tmp_path), "--demos", str(demos)]
    monkeypatch.setattr("sys.argv", arguments)
    cli.main()
    assert "PASS pick_place replay, position: 4 replays are 2.0 mm off" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments, "--thresholds", str(tmp_path / "limits.yaml")])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 1
    monkeypatch.setattr("sys.argv", [*arguments[:-1], str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 2


def test_limits_are_in_order():
    limit = Limit(good=1.0, bad=2.0)
    assert [limit.level(v) for v in (0.5, 1.5, 3.0, math.inf, math.nan)] == [
        *("pass", "warn"),
        *("fail",) * 3,
    ]
    with pytest.raises(ValueError, match="good"):
        Limit(good=2.0, bad=1.0)
