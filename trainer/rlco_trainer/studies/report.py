"""`rlco-train study-report`: what studies found so far, as CSVs, figures and one Markdown page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import tyro
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec

from rlco_trainer.atomic import replaced_folder, write_text
from rlco_trainer.studies.arms import Study, StudyName, Usual, study
from rlco_trainer.studies.figure import draw
from rlco_trainer.studies.page import FIGURE, PAGE, RECORD, ROWS, Batch, Record, page
from rlco_trainer.studies.places import SeedFolder, Sizes, read_settings
from rlco_trainer.studies.recipes import DEFAULT_PRESET
from rlco_trainer.studies.results import Row, read_csv, trial_rows, twin_rows, write_csv
from rlco_trainer.studies.robot import Robot
from rlco_trainer.studies.steps import StepFailedError, read_journal

NAMES: tuple[StudyName, ...] = get_args(StudyName)


@dataclass(frozen=True, kw_only=True)
class StudyReportCommand:
    """Write what studies found so far beside the paper's numbers.

    In: the folder that `rlco-train study` writes, finished or under way; it is only read. Out:
    DOCS/results/STUDY with results.csv, figure.png and study.yaml for each study that has a
    finished seed, and DOCS/results.md, written from those of every study in DOCS/results. A seed
    counts in the twin, or in the lab, once all arms and tasks are done there. Other seeds that are
    in DOCS/results/STUDY already, run elsewhere with the same options, stay.
    Example: rlco-train study-report runs/studies --docs docs
    """

    studies: tyro.conf.Positional[Path]
    """Folder of all studies of the same sizes."""
    docs: Path = Path("docs")
    """Folder of the page."""
    names: tuple[StudyName, ...] = NAMES
    """Which studies."""
    usual: tyro.conf.OmitArgPrefixes[Usual] = field(default_factory=Usual)
    """What the studies were run with."""
    note: str = ""
    """What a reader should know of the run, for example the machine and what else it did."""

    def run(self) -> None:
        """Collect each study; write the page."""
        if not any(self.studies.glob("seed-*/journal.json")):
            raise StepFailedError(
                f"{self.studies} holds no seed-N/journal.json; give the --out of `rlco-train study`"
            )
        for name in self.names:
            found = self._collect(name)
            print(f"{name}: {found}", flush=True)
        results = self.docs / "results"
        write_text(self.docs / PAGE, page(results))
        print(f"{self.docs / PAGE}, {results}")

    def _collect(self, name: StudyName) -> str:
        """Write a study's folder if it has a finished seed; return what was found."""
        chosen = study(name, self.usual)
        rows: list[Row] = []
        seconds, done, under_way = 0.0, [], []
        common: tuple[Sizes, Robot | None] | None = None
        for folder in _seed_folders(self.studies):
            journal = read_journal(folder)
            sizes, robot = read_settings(journal["settings"], str(folder))
            if common is not None and common != (sizes, robot):
                raise StepFailedError(f"{folder} has other sizes than {self.studies}'s other seeds")
            common = sizes, robot
            seed = SeedFolder(folder, sizes, int(folder.name.partition("-")[2]), robot)
            wanted = seed.steps_of(name, chosen)
            ended = [step for step in wanted if step in journal["steps"]]
            found = _finished_rows(name, chosen, seed, journal["steps"])
            rows += found
            if found:
                done.append(seed.seed)
                seconds += sum(journal["steps"][step]["seconds"] for step in ended)
            if len(ended) < len(wanted):
                under_way.append(f"seed {seed.seed}: {len(ended)} of {len(wanted)} steps done")
        if not rows or common is None:
            return f"no finished seed ({'; '.join(under_way)})"
        batch = Batch(
            seeds=tuple(done),
            hours=round(seconds / 3600, 2),
            under_way=tuple(under_way),
            note=self.note,
        )
        record = Record(
            name=name,
            usual=self.usual,
            options=_options(self.usual, *common),
            sizes=_told(self.usual, common[0]),
            out=_short(self.studies),
            batches=(batch,),
        )
        at = self.docs / "results" / name
        if (at / RECORD).is_file():
            record, rows = _beside_earlier(at, record, rows)
        with replaced_folder(at) as new:
            write_csv(rows, new / ROWS)
            spec.save(record, new / RECORD)
            draw(chosen, rows, new / FIGURE)
        return f"{len(done)} seeds" + (f" ({'; '.join(under_way)})" if under_way else "")


def _beside_earlier(at: Path, new: Record, rows: list[Row]) -> tuple[Record, list[Row]]:
    """Return a new batch together with the other batches that are in a study's folder.

    Raises:
        StepFailedError: if those were run otherwise, or share some but not all of their seeds.
    """
    earlier = spec.load(Record, at / RECORD)
    if (earlier.options, earlier.usual) != (new.options, new.usual):
        raise StepFailedError(
            f"{at} holds seeds {_listed(earlier.seeds)} of `{earlier.command}`, which are other "
            f"options than those of {new.out}. Remove that folder to replace its results, or give "
            "another --docs."
        )
    (batch,) = new.batches
    kept = []
    for other in earlier.batches:
        if shared := set(other.seeds) & set(batch.seeds):
            if missing := set(other.seeds) - shared:
                raise StepFailedError(
                    f"{at} holds seeds {_listed(other.seeds)} of one run, of which {new.out} lacks "
                    f"{_listed(sorted(missing))}. Remove that folder to replace its results."
                )
        else:
            kept.append(other)
    stay = {seed for other in kept for seed in other.seeds}
    rows = [row for row in read_csv(at / ROWS) if row.seed in stay] + rows
    batches = sorted([*kept, batch], key=lambda item: item.seeds)
    return replace(new, batches=tuple(batches)), sorted(rows, key=lambda row: row.seed)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _seed_folders(studies: Path) -> list[Path]:
    found = [path.parent for path in studies.glob("seed-*/journal.json")]
    numbered = [path for path in found if re.fullmatch(r"seed-\d+", path.name)]
    return sorted(numbered, key=lambda path: int(path.name.partition("-")[2]))


def _finished_rows(
    name: StudyName, chosen: Study, seed: SeedFolder, done: dict[str, Any]
) -> list[Row]:
    """Return a seed's rows of the places where every arm and task is done."""
    rows: list[Row] = []
    if all(step in done for step in seed.twin_steps(chosen)):
        rows += twin_rows(chosen, seed)
    if seed.sizes.trials > 0 and all(step in done for step in seed.trial_steps(name, chosen)):
        rows += trial_rows(name, chosen, seed)
    return rows


def _options(usual: Usual, sizes: Sizes, robot: Robot | None) -> str:
    """Return the options that make these results, without what is the default.

    A twin and a robot are named by their files and runs by their last two folders: where a machine
    keeps them is nobody's business.
    """
    words = []
    plain = spec.to_plain(usual) | sizes.settings()
    default = spec.to_plain(Usual()) | Sizes(preset=sizes.preset).settings()
    default["preset"] = DEFAULT_PRESET
    if robot is not None:
        words += ["--robot", f"{robot.name}.yaml"]
    if robot is not None or _is_demo_bench(sizes.twin):
        plain["twin"] = default["twin"]
    else:
        plain["twin"] = sizes.twin.name
    if sizes.init is not None:
        plain["init"] = _short(sizes.init)
    for key, value in plain.items():
        if value is False and default.get(key) is True:
            words.append(f"--no-{key.replace('_', '-')}")
        elif value != default.get(key):
            values = value if isinstance(value, list) else [value]
            words += [f"--{key.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def _told(usual: Usual, sizes: Sizes) -> str:
    return (
        f"Policy `{sizes.preset}`; of each task {sizes.sim_demos} sim demonstrations and, where an "
        f"arm names no other number, {usual.real_demos} real; stage I {sizes.recipe.steps} steps "
        f"of {sizes.recipe.batch} samples, stage II {sizes.iterations} iterations of "
        f"{sizes.episodes} episodes."
    )


def _short(path: Path) -> str:
    """Return a path's last two folders."""
    return str(Path(*path.resolve().parts[-2:]))


def _is_demo_bench(twin: Path) -> bool:
    return twin.is_file() and load_twin(twin).id == load_twin(demo_bench()).id
