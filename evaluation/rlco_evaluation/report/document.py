"""From the inputs of a report to one self-contained HTML page."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rlco_datasets import spec

from rlco_evaluation.analysis import Analysis, analyse
from rlco_evaluation.blinding import Key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import NO_MILESTONE, TrialRecord
from rlco_evaluation.report import curves, frames, provenance, simulation, words
from rlco_evaluation.report.inputs import ReportInputs
from rlco_evaluation.schedule import Trial, schedule
from rlco_evaluation.study import Study

DRIFT_WINDOW = 15
GRID_COLUMNS = 30


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One planned trial in the grid: its last record, if it has been run."""

    trial: Trial
    record: TrialRecord | None

    @property
    def state(self) -> str:
        """One of "success", "failure", "void", "open"."""
        if self.record is None:
            return "open"
        if self.record.status == "void":
            return "void"
        return "success" if self.record.success else "failure"

    @property
    def tip(self) -> str:
        """What hovering shows."""
        lines = [f"{self.trial.condition} · trial {self.trial.index} · {self.state}"]
        if record := self.record:
            if record.milestone not in NO_MILESTONE:
                lines.append(f"furthest: {record.milestone}")
            lines.append(f"{record.duration_s:.1f} s, {record.steps} steps")
            lines.extend(text for text in (record.failure, record.reason, record.notes) if text)
        return "\n".join(lines)


# (condition, its blocks), each block its cells by code
Grid = list[tuple[str, list[dict[str, Cell]]]]


@dataclass(frozen=True, kw_only=True)
class OrderPoint:
    """A done trial on the time axis; `x` and `rate` (of the last DRIFT_WINDOW) in percent.

    The rate is None until there are enough trials for one.
    """

    x: float
    record: TrialRecord
    rate: float | None


def load_inputs(path: str | os.PathLike[str]) -> tuple[ReportInputs, Path]:
    """Return the inputs in the YAML file at `path`, and the folder its paths are relative to.

    Raises:
        SpecError: if the file is missing or malformed.
    """
    return spec.load(ReportInputs, path), Path(path).parent


def render(inputs: ReportInputs, folder: Path) -> str:
    """Return the report as HTML.

    Args:
        inputs: what it is made from.
        folder: what the paths in `inputs` are relative to.

    Raises:
        ValueError: naming the file that is missing, malformed or of another study.
    """
    study = spec.load(Study, folder / inputs.study)
    key = spec.load(Key, folder / inputs.key) if inputs.key else None
    ledger_path = folder / inputs.ledger
    with Ledger.open(ledger_path, study) as ledger:
        analysis = analyse(study, ledger, key)
        colors = {policy.label: i for i, policy in enumerate(analysis.policies)}
        strips, warnings = _strips(analysis, ledger_path.parent)
        done = {record.index for record in analysis.done}
        return (
            _environment()
            .get_template("report.html")
            .render(
                inputs=inputs,
                study=study,
                analysis=analysis,
                words=words,
                title=inputs.title or study.name,
                warnings=[
                    *analysis.warnings,
                    *(provenance.changed_checkpoints(key) if key else []),
                    *warnings,
                ],
                colors=colors,
                code_color={policy.code: colors[policy.label] for policy in analysis.policies},
                simulations=_simulations(inputs, folder, colors),
                short_names=words.without_common_prefix([c.name for c in study.conditions]),
                grids=_grids(analysis, ledger.trials),
                void_left=any(record.index not in done for record in analysis.void),
                order=_order(analysis),
                drift_window=DRIFT_WINDOW,
                levels=_levels(analysis),
                strips=strips,
                panels=curves.panels(inputs.curves, folder, colors),
                events=[event for event in ledger.events if event.what != "begin"],
                provenance=provenance.rows(
                    study,
                    ledger,
                    key,
                    inputs.artefacts,
                    paths={"study": inputs.study, "ledger": inputs.ledger, "key": inputs.key},
                    folder=folder,
                ),
                header=ledger.header,
                trials=ledger.trials,
                software=inputs.software_version or version("rlco-evaluation"),
            )
        )


def write(inputs: ReportInputs, folder: Path, out: Path) -> None:
    """Write the report to `out`, atomically.

    Raises:
        ValueError: as `render` does.
    """
    html = render(inputs, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(out)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rlco_evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "points": words.points,
        "p": words.p_value,
        "span": words.span,
    }
    return environment


def _simulations(
    inputs: ReportInputs, folder: Path, colors: dict[str, int]
) -> dict[str, simulation.SimulationResult]:
    results = {item.label: simulation.load(folder / item.path) for item in inputs.simulations}
    if unknown := set(results) - set(colors):
        raise simulation.SimulationError(
            f"sim results for {sorted(unknown)}, but the study's policies are {list(colors)}"
            + ("" if inputs.key else "; a blind report cannot show sim results by label")
        )
    return results


def _grids(analysis: Analysis, records: tuple[TrialRecord, ...]) -> list[Grid]:
    """Return the grid in parts that fit a page; conditions in the study's order."""
    last = {record.index: record for record in records}
    blocks: dict[str, dict[int, dict[str, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for trial in schedule(analysis.study):
        cell = Cell(trial=trial, record=last.get(trial.index))
        blocks[trial.condition][trial.block][trial.code] = cell
    columns = [(name, list(blocks[name].values())) for name in blocks]
    order = [condition.name for condition in analysis.study.conditions]
    columns.sort(key=lambda column: order.index(column[0]))
    size = max(1, GRID_COLUMNS // analysis.study.trials_per_condition)
    return [columns[i : i + size] for i in range(0, len(columns), size)]


def _order(analysis: Analysis) -> list[OrderPoint]:
    outcomes = [bool(record.success) for record in analysis.done]
    points = []
    for i, record in enumerate(analysis.done):
        window = outcomes[max(0, i + 1 - DRIFT_WINDOW) : i + 1]
        enough = len(window) > DRIFT_WINDOW // 2
        rate = 100 * sum(window) / len(window) if enough else None
        points.append(OrderPoint(x=100 * (i + 0.5) / len(outcomes), record=record, rate=rate))
    return points


def _levels(analysis: Analysis) -> list[tuple[str, dict[str, int]]]:
    """Return (milestone, code -> trials that got at least this far), without the start."""
    levels = list(
        dict.fromkeys(level for policy in analysis.policies for level in policy.furthest)
    )[1:]
    return [
        (
            level,
            {
                policy.code: sum(policy.furthest.get(later, 0) for later in levels[i:])
                for policy in analysis.policies
            },
        )
        for i, level in enumerate(levels)
        if level != "success"
    ] + [("success", {policy.code: policy.successes for policy in analysis.policies})]


def _strips(analysis: Analysis, folder: Path) -> tuple[list[frames.Strip], list[str]]:
    strips, warnings = [], []
    for record in frames.choose(schedule(analysis.study), analysis.done):
        try:
            strips.append(frames.strip(record, folder / record.frames))
        except frames.FrameError as error:
            warnings.append(f"No picture strip: {error}.")
    order = [policy.code for policy in analysis.policies]
    return sorted(strips, key=lambda strip: order.index(strip.record.code)), warnings
