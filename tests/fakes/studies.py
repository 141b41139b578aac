"""A made-up study with everything a report can show; never a result."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rlco_datasets import spec
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from rlco_evaluation import blinding
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.report.inputs import Artefact, Curve, ReportInputs, Simulation
from rlco_evaluation.study import Study

RATES = {"real-only": 0.3, "sft": 0.57, "rl-co": 0.83}
SIM_RATES = {"real-only": 0.21, "sft": 0.61, "rl-co": 0.93}
MILESTONES = ("reached", "grasped", "lifted", "over_bowl", "success")
FAILURES = ("missed grasp", "dropped the cube", "ran out of time", "pushed the cube away")


@dataclass(frozen=True)
class FakeStudy:
    """Where the files of a made-up study lie."""

    folder: Path

    study = property(lambda self: self.folder / "study.yaml")
    key = property(lambda self: self.folder / "key.yaml")
    ledger = property(lambda self: self.folder / "ledger.jsonl")
    inputs = property(lambda self: self.folder / "report.yaml")


def make_study(
    conditions: int = 4, codes: str = "ABC", repeats: int = 1, **changes: object
) -> Study:
    """Return a small plan to test with."""
    fields: dict[str, object] = {
        "name": "fake",
        "task": "pick_and_place",
        "instruction": "put the cube in the bowl",
        "contract_id": "0123456789abcdef",
        "codes": tuple(codes),
        "conditions": tuple(
            InitialCondition(
                name=f"c{i:02d}",
                task="pick_and_place",
                objects=(ObjectPose(name="cube", position_m=(0.5, 0.01 * i, 0.02)),),
                tcp_position_m=(0.4, 0.0, 0.3),
            )
            for i in range(conditions)
        ),
        "success_criterion": "the cube rests in the bowl and the gripper has let go",
        "time_limit_s": 20.0,
        "hold_s": 0.5,
        "order_seed": 7,
        "comparisons": (("A", "B"),) if len(codes) > 1 else (),
        "trials_per_condition": repeats,
        "milestones": MILESTONES,
    }
    return Study(**(fields | changes))  # type: ignore[arg-type]


def write_study(folder: Path, *, conditions: int = 30, trials: int | None = None) -> FakeStudy:
    """Write a study, its key, ledger (the first `trials` trials), metrics, frames, report.yaml."""
    rng = np.random.default_rng(5)
    files = FakeStudy(folder)
    for label in RATES:
        (folder / "runs" / label).mkdir(parents=True)
        (folder / "runs" / label / "policy.yaml").write_text(f"label: {label}\n")
    key = blinding.blind(
        "lab, first light",
        {label: str(folder / "runs" / label) for label in RATES},
        seed=4,
        salt="00" * 16,
    )
    study = make_study(
        conditions,
        name="lab, first light",
        comparisons=(("A", "B"), ("A", "C"), ("B", "C")),
        key_commitment=key.commitment,
    )
    spec.save(study, files.study)
    spec.save(key, files.key)
    _run(study, key, files, rng, study.trial_count if trials is None else trials)
    _metrics(folder, rng)
    for label, rate in SIM_RATES.items():
        (folder / f"sim-{label}.json").write_text(
            json.dumps({"episodes": 200, "successes": round(200 * rate)})
        )
    spec.save(_inputs(), files.inputs)
    return files


def _run(
    study: Study, key: blinding.Key, files: FakeStudy, rng: np.random.Generator, trials: int
) -> None:
    difficulty = {condition.name: rng.normal() for condition in study.conditions}
    with Ledger.open(files.ledger, study, mode="a") as ledger:
        for trial in ledger.remaining(study)[:trials]:
            ledger.begin(trial.index)
            common = {"index": trial.index, "condition": trial.condition, "code": trial.code}
            if trial.index in (17, 52):
                ledger.append(
                    TrialRecord(
                        **common, status="void", reason="operator: the cube fell off the table"
                    )
                )
            label = key.labels[trial.code]
            logit = math.log(RATES[label] / (1 - RATES[label])) + difficulty[trial.condition]
            success = bool(rng.random() < 1 / (1 + math.exp(-logit)))
            frames = ""
            if trial.condition == "c03":
                frames = f"frames/{trial.index:03d}"
                _frames(files.folder / frames, success)
            duration_s = float(rng.uniform(7, 13)) if success else 20.0
            ledger.append(
                TrialRecord(
                    **common,
                    status="done",
                    success=success,
                    milestone="success" if success else ("start", *MILESTONES)[rng.integers(0, 4)],
                    failure="" if success else FAILURES[rng.integers(0, 4)],
                    steps=round(duration_s * 10),
                    duration_s=duration_s,
                    notes="second try <held>" if rng.random() < 0.1 else "",
                    policy_id=f"{abs(hash_of(label)):016x}",
                    frames=frames,
                )
            )


def hash_of(label: str) -> int:
    """Return a fixed number for a label."""
    return int.from_bytes(label.encode().ljust(8, b"."), "big")


def _frames(folder: Path, success: bool) -> None:
    """Draw a grey bench with a cube that wanders into a bowl, or not."""
    folder.mkdir(parents=True)
    for i in range(12):
        image = Image.new("RGB", (320, 240), (196, 190, 182))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, 320, 90), fill=(120, 126, 134))
        draw.ellipse((210, 140, 280, 180), fill=(84, 104, 140))
        x = 80 + (165 if success else 70) * i / 11
        y = 160 - 60 * math.sin(math.pi * i / 11)
        draw.rectangle((x - 12, y - 12, x + 12, y + 12), fill=(190, 60, 50))
        draw.rectangle((x - 4, 0, x + 4, y - 12), fill=(240, 240, 240))
        image.save(folder / f"{i}.png")


def _metrics(folder: Path, rng: np.random.Generator) -> None:
    with (folder / "stage1.jsonl").open("w") as file:
        for step in range(0, 3001, 10):
            loss = 0.9 * math.exp(-step / 600) + 0.12 + rng.normal() * 0.02
            row = {"step": step, "wall_s": step / 20, "loss": loss}
            file.write(json.dumps(row) + "\n")
    with (folder / "stage2.jsonl").open("w") as file:
        for step in range(120):
            row = {
                "step": step * 2560,
                "wall_s": step * 4.0,
                "rollout/success": min(
                    1, 0.6 + 0.33 * (1 - math.exp(-step / 35)) + rng.normal() * 0.03
                ),
                "loss/real_sft": 0.14 + 0.02 * math.exp(-step / 20) + rng.normal() * 0.004,
                "ppo/approx_kl": abs(rng.normal() * 0.004) + 0.004,
            }
            file.write(json.dumps(row) + "\n")


def _inputs() -> ReportInputs:
    return ReportInputs(
        study="study.yaml",
        ledger="ledger.jsonl",
        key="key.yaml",
        title="Made-up data, for looking at the layout",
        bench="a simulated lab with a hidden twin (gap 1.0)",
        curves=(
            Curve(label="sft", path="stage1.jsonl", scalars=("loss",), group="Stage I"),
            Curve(
                label="rl-co",
                path="stage2.jsonl",
                scalars=("rollout/success", "loss/real_sft", "ppo/approx_kl"),
                group="Stage II",
            ),
        ),
        simulations=tuple(Simulation(label=label, path=f"sim-{label}.json") for label in RATES),
        artefacts=(
            Artefact(kind="twin", name="bench", id="8f1d0c55aa10b2e3"),
            Artefact(kind="metrics", name="stage II", path="stage2.jsonl", lineage=("stage I",)),
        ),
        commands=("rlco-train stage2 --init runs/sft --out runs/rl-co", "rlco-up eval"),
        git_commit="0" * 40,
    )
