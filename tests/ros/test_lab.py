"""The simulated lab without ROS: its clock, its commands, how it is drawn, who may read it."""

import ast
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from rlco.core.trial import Scored, TrialClock, evenly
from rlco.lab import cli
from rlco.lab.bench import SimulatedBench
from rlco.lab.draw import draw_lab
from rlco.lab.hidden import load_hidden_twin
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import TwinError, demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from fake_scene import FakeScene
from ros_studies import write_study

CONTRACT = franka_compact()
P = CONTRACT.period_ns
TWIN = load_twin(demo_bench())
ROOT = Path(__file__).parents[2]


def condition(name="c"):
    return sample(TWIN, "pick_and_place", np.random.default_rng(0), name)


@pytest.fixture
def bench():
    scene = FakeScene(CONTRACT)
    scene.reset(condition("c-solved-after-3"))
    return SimulatedBench(scene, CONTRACT, start_ns=P)


def command(bench, width_m=0.08):
    return bench.offer_pose(bench.stamp_ns, bench.scene.T_base_tcp) and bench.offer_width(
        bench.stamp_ns, width_m
    )


def test_time_only_goes_forward(bench):
    stamps = [bench.stamp_ns]
    for _ in range(2):
        for _ in range(3):
            command(bench)
            bench.advance()
            stamps.append(bench.stamp_ns)
        bench.reset(condition())
        stamps.append(bench.stamp_ns)
    assert np.diff(stamps).tolist() == [P] * 8


def test_only_commands_for_the_current_observation_count(bench):
    pose = bench.scene.T_base_tcp
    assert not bench.offer_pose(bench.stamp_ns - P, pose)
    assert not bench.offer_width(bench.stamp_ns + P, 0.0)
    assert not bench.commanded
    assert bench.offer_pose(bench.stamp_ns, pose)
    assert not bench.commanded
    assert bench.offer_width(bench.stamp_ns, 0.04)
    assert bench.commanded
    assert bench.advance()
    assert bench.scene.targets[-1][1] == pytest.approx(0.5)
    assert not bench.commanded


def test_without_a_command_the_last_target_is_held(bench):
    here = bench.scene.T_base_tcp
    assert not bench.advance()
    np.testing.assert_array_equal(bench.scene.targets[-1][0], here)
    target = here.copy()
    target[0, 3] += 0.01
    bench.offer_pose(bench.stamp_ns, target)
    bench.offer_width(bench.stamp_ns, 0.02)
    assert bench.advance()
    assert not bench.advance()
    held, opening = bench.scene.targets[-1]
    np.testing.assert_array_equal(held, target)
    assert opening == pytest.approx(0.25)


def test_a_width_that_is_not_finite_is_refused(bench):
    with pytest.raises(ValueError, match="must be finite, got nan"):
        bench.offer_width(bench.stamp_ns, float("nan"))


def test_a_reset_forgets_commands_score_and_steps(bench):
    for _ in range(4):
        command(bench)
        bench.advance()
    score = bench.score()
    assert (score.success, score.steps, score.milestone) == (True, 3, "success")
    command(bench)
    bench.reset(condition())
    assert not bench.commanded
    assert not bench.score().success
    assert bench.score().steps == 0


def test_a_refused_reset_leaves_the_bench_as_it_was(bench):
    stamp = bench.stamp_ns
    wrong = spec.from_plain(
        type(condition()), spec.to_plain(condition()) | {"task": "juggle"}, where="test"
    )
    with pytest.raises(ValueError, match="juggle"):
        bench.reset(wrong)
    assert bench.stamp_ns == stamp


def test_success_counts_only_within_the_time_limit(tmp_path):
    study = write_study(tmp_path / "study.yaml", CONTRACT, time_limit_s=2.0)
    clock = TrialClock(study, CONTRACT, start_ns=5 * P)
    assert not clock.over(24 * P)
    assert clock.over(25 * P)
    assert not clock.add(Scored(success=False, milestone="grasped", steps=18))
    assert not clock.add(Scored(success=True, milestone="success", steps=21))
    verdict = clock.verdict
    assert (verdict.success, verdict.milestone, verdict.steps) == (False, "grasped", 20)
    assert clock.add(Scored(success=True, milestone="success", steps=20))


def test_nothing_reached_is_no_milestone(tmp_path):
    study = write_study(tmp_path / "study.yaml", CONTRACT)
    clock = TrialClock(study, CONTRACT, start_ns=0)
    clock.add(Scored(success=False, milestone="start", steps=4))
    assert clock.verdict.milestone == ""


def test_frames_are_spread_evenly():
    assert evenly(3, 6) == [0, 1, 2]
    assert evenly(11, 3) == [0, 5, 10]
    assert evenly(11, 1) == [10]
    assert evenly(0, 3) == []


def test_a_drawn_lab_differs_everywhere_as_far_as_it_says():
    lab = draw_lab(TWIN, seed=5)
    assert lab.hidden
    assert lab.contract_id == TWIN.contract_id
    assert "seed 5" in lab.provenance[0].source
    ours, theirs = TWIN.cameras[0], lab.cameras[0]
    shift = np.linalg.norm(ours.T_base_camera[:3, 3] - theirs.T_base_camera[:3, 3])
    assert 0.02 <= shift <= 0.0301
    turn = ours.T_base_camera[:3, :3].T @ theirs.T_base_camera[:3, :3]
    assert 1.5 < np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 2.5
    assert theirs.noise_std > 1
    for mine, other in zip(TWIN.objects, lab.objects, strict=True):
        assert np.abs(np.subtract(mine.colour, other.colour)).min() > 0.025
        assert mine.friction != other.friction
        assert mine.mass_kg != other.mass_kg
        assert mine.size_m == other.size_m
    for mine, other in zip(TWIN.drawers, lab.drawers, strict=True):
        assert 1.4 < other.joint_friction_n / mine.joint_friction_n < 2.6
        assert np.abs(np.subtract(mine.colour, other.colour)).min() > 0.025
        assert (mine.size_m, mine.travel_m) == (other.size_m, other.travel_m)
    for field in ("gain", "delay_s", "stiffness"):
        assert getattr(lab.arm, field) != getattr(TWIN.arm, field)
    assert lab.lighting != TWIN.lighting
    assert lab.table.colour != TWIN.table.colour
    assert lab.tasks == TWIN.tasks


def test_a_drawer_on_the_bench_changes_nothing_else_of_a_lab():
    tasks = tuple(dataclasses.replace(task, placements=()) for task in TWIN.tasks)
    bare = dataclasses.replace(TWIN, drawers=(), tasks=tasks)
    with_drawer, without = draw_lab(TWIN, seed=5), draw_lab(bare, seed=5)
    for part in ("cameras", "objects", "arm", "lighting", "table"):
        assert getattr(with_drawer, part) == getattr(without, part)


def test_the_seed_decides_and_the_gap_scales():
    assert draw_lab(TWIN, seed=1).id == draw_lab(TWIN, seed=1).id
    assert draw_lab(TWIN, seed=1).id != draw_lab(TWIN, seed=2).id
    none = draw_lab(TWIN, seed=1, gap=0.0)
    changed = {str(d.path).split(".")[0] for d in spec.diff(TWIN, none)}
    assert changed <= {"name", "hidden", "provenance", "cameras"}  # the camera's rounding
    np.testing.assert_allclose(
        none.cameras[0].T_base_camera, TWIN.cameras[0].T_base_camera, atol=1e-6
    )
    small = draw_lab(TWIN, seed=1, gap=0.5).cameras[0].T_base_camera
    large = draw_lab(TWIN, seed=1, gap=1.0).cameras[0].T_base_camera
    origin = TWIN.cameras[0].T_base_camera[:3, 3]
    np.testing.assert_allclose(2 * (small[:3, 3] - origin), large[:3, 3] - origin, atol=1e-5)
    with pytest.raises(ValueError, match="gap must be in"):
        draw_lab(TWIN, seed=1, gap=-1.0)


def test_the_command_writes_a_hidden_twin_that_training_refuses(tmp_path, monkeypatch, capsys):
    out = tmp_path / "lab" / "hidden.yaml"
    monkeypatch.setattr("sys.argv", ["rlco-lab", "draw", "--seed", "7", "--out", str(out)])
    cli.main()
    assert "hidden lab demo_bench-lab-7" in capsys.readouterr().out
    assert load_hidden_twin(out).hidden
    with pytest.raises(TwinError, match="hidden twin of a simulated lab"):
        load_twin(out)
    again = ["rlco-lab", "draw", "--twin", str(out), "--out", str(tmp_path / "b.yaml")]
    monkeypatch.setattr("sys.argv", again)
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    assert exit_info.value.code == 1
    assert "hidden twin" in capsys.readouterr().err


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nobody_outside_the_lab_reads_hidden_twins():
    folders = ("datasets", "calibration", "evaluation", "trainer", "policy_server", "ros_ws")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    sources = [path for path in found if not {"build", "install"} & set(path.parts)]
    lab = ROOT / "ros_ws/src/rlco/rlco/lab"
    readers = [
        path
        for path in sources
        if not path.is_relative_to(lab)
        and any("rlco.lab.hidden" in name or "load_hidden_twin" in name for name in imports(path))
    ]
    assert lab / "hidden.py" in sources
    assert readers == []
