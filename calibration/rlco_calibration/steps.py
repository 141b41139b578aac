"""`rlco-calibrate board | walk | factory | check`: from a bare bench to a checked twin."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from rlco_datasets import spec
from rlco_datasets.contract import BUILT_IN, Contract, load_contract

from rlco_calibration import board_pdf, describe
from rlco_calibration.board import Board, measured
from rlco_calibration.check import PAGE, check
from rlco_calibration.check_limits import Thresholds
from rlco_calibration.errors import CalibrationError
from rlco_calibration.intrinsics import compare
from rlco_calibration.lens import Lens
from rlco_calibration.results import LensResult
from rlco_calibration.simulators import TwinSimulator, simulator
from rlco_calibration.twin import Twin, demo_bench, load_twin
from rlco_calibration.walk import OPTIONAL, REPLAYED, STEPS, Walk


def contract_named(name: str) -> Contract:
    """Return a built-in contract by its name, or the one in a YAML file."""
    return BUILT_IN[name]() if name in BUILT_IN else load_contract(name)


@dataclass(frozen=True, kw_only=True)
class BoardPage:
    """Make the ChArUco board to print, or correct its measures by what the print measures.

    Goes in: the board's measures. Comes out: with --out a one-page PDF at true size, with a scale
    bar; with --bar-mm the YAML of the board as printed, to give to the captures.
    Example: rlco-calibrate board --out board.pdf
    Example: rlco-calibrate board --bar-mm 149.2 --save board.yaml
    """

    out: Path | None = None
    """PDF to write."""
    page: str = "a4"
    """Size of the page: a4, a3 or letter, landscape."""
    columns: int = 5
    """Squares along the long side."""
    rows: int = 4
    """Squares along the short side."""
    square_mm: float = 50.0
    """Edge of a square, as asked of the printer."""
    marker_mm: float = 38.0
    """Edge of a marker."""
    bar_mm: float | None = None
    """What a ruler says of the print's scale bar of 150 mm."""
    save: Path = Path("board.yaml")
    """Where the measures of the printed board go."""

    def run(self) -> None:
        """Write the page, the measures, or both."""
        board = Board(
            columns=self.columns,
            rows=self.rows,
            square_m=self.square_mm / 1000,
            marker_m=self.marker_mm / 1000,
        )
        if self.page not in board_pdf.PAGES_M:
            raise CalibrationError(
                f"page {self.page!r} is unknown; one of {sorted(board_pdf.PAGES_M)}"
            )
        if self.out is not None:
            board_pdf.write(board, self.out, self.page)
            print(f"{self.out}: print at 100% (actual size), glue to a stiff flat board, and")
            print("measure the scale bar: rlco-calibrate board --bar-mm LENGTH --save board.yaml")
        if self.bar_mm is not None:
            printed = measured(
                board, nominal_bar_m=board_pdf.BAR_M, measured_bar_m=self.bar_mm / 1000
            )
            spec.save(printed, self.save)
            print(f"{self.save}: squares of {printed.square_m * 1000:.2f} mm as printed")


@dataclass(frozen=True, kw_only=True)
class WalkCommand:
    """Turn what was collected into results, pictures and twin.yaml, step by step; resumable.

    Goes in: a folder with captures, touches, motions and pushes, as the robot side's `calibrate`
    collects them (objects, drawers, slides, appearance and marks too, where wanted), and the twin
    to start from. Comes out: results/*.yaml, pictures/*.png and twin.yaml in the same folder. Steps
    that are solved are not done again, unless --again.
    Example: rlco-calibrate walk --folder runs/calibration --twin bench.yaml
    """

    folder: Path
    """The calibration's folder."""
    twin: Path = field(default_factory=demo_bench)
    """The twin to start from: what is not measured stays as it says."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    steps: tuple[str, ...] = STEPS
    """Which steps to do, of: cameras table objects drawer arm friction slides appearance
    tasks twin."""
    again: bool = False
    """Do steps again that are solved already."""
    workers: int = 1
    """Processes that replay motions in the twin at once (steps arm, friction and slides): one a
    core."""
    status: bool = False
    """Only say what is there and what is to be done."""

    def run(self) -> None:
        """Walk."""
        start = load_twin(self.twin)
        walk = Walk(self.folder, start, print)
        unknown = sorted(set(self.steps) - set(STEPS))
        if unknown:
            raise CalibrationError(f"step {unknown[0]!r} is unknown; one of {list(STEPS)}")
        if self.status:
            print("\n".join(walk.status()))
            return
        with ExitStack() as opened:
            self._walk(walk, opened)
        if "twin" in self.steps:
            changed = describe.differences(start, load_twin(self.folder / "twin.yaml"))
            print("\n".join(["--- what calibration changed", *changed]))

    def _walk(self, walk: Walk, opened: ExitStack) -> None:
        """Do the steps; a simulator that one of them needs stays open for the next."""
        twins: TwinSimulator | None = None
        for step in self.steps:
            if not walk.wanted(step):
                print(f"{step}: nothing collected ({OPTIONAL[step]}); the twin keeps its numbers")
                continue
            if step != "twin" and walk.solved(step) and not self.again:
                print(f"{step}: solved before (--again solves it again)")
                continue
            print(f"--- {step}")
            if step in REPLAYED:
                if twins is None:
                    made = simulator(contract_named(self.contract), workers=self.workers)
                    twins = opened.enter_context(closing(made))
                getattr(walk, step)(twins)
            else:
                getattr(walk, step)()


@dataclass(frozen=True, kw_only=True)
class Factory:
    """Compare a measured lens with the camera's factory values.

    Goes in: a result lens_<camera>.yaml, and the factory's numbers (a RealSense reports them in
    `camera_info`). Comes out: a line for each number, with whether they agree.
    Example: rlco-calibrate factory --lens results/lens_front.yaml --fx 605 --fy 605 --cx 322
    --cy 241
    """

    lens: Path
    """The measured lens."""
    fx: float
    """Factory focal length along x, px."""
    fy: float
    """Factory focal length along y, px."""
    cx: float
    """Factory centre, px."""
    cy: float
    """Factory centre, px."""

    def run(self) -> None:
        """Print the comparison."""
        found = spec.load(LensResult, self.lens)
        factory = Lens(size=found.lens.size, fx=self.fx, fy=self.fy, cx=self.cx, cy=self.cy)
        print("\n".join(compare(found.lens, found.std, factory)))


@dataclass(frozen=True, kw_only=True)
class Check:
    """The gate before training: does the twin look and move like the bench?

    Goes in: a calibration's folder with twin.yaml, and stores of real demonstrations to replay in
    the twin. Comes out: check.html in the folder (overlays of real frames and the twin's, plots of
    the replays, to look at in a browser), and a verdict for every item; exit status 1 if one fails.
    Example: rlco-calibrate check --folder runs/calibration --demos runs/real.zarr
    """

    folder: Path
    """The calibration's folder."""
    twin: Path | None = None
    """The twin to check; the folder's twin.yaml if not given."""
    contract: str = "franka_compact"
    """Name of a built-in contract, or path of a contract YAML."""
    demos: tuple[Path, ...] = ()
    """Stores of real demonstrations."""
    demos_of_each_task: int = 10
    """How many of each task are replayed, spread over each store."""
    thresholds: Path | None = None
    """YAML of thresholds; the built-in ones if not given."""

    def run(self) -> None:
        """Check, and print the verdicts."""
        twin: Twin = load_twin(self.twin or self.folder / "twin.yaml")
        limits = Thresholds() if self.thresholds is None else spec.load(Thresholds, self.thresholds)
        contract = contract_named(self.contract)
        verdicts = check(
            self.folder,
            twin,
            contract,
            simulator(contract),
            limits,
            demos=self.demos,
            demos_of_each_task=self.demos_of_each_task,
        )
        for verdict in verdicts:
            print(verdict)
        print(f"{self.folder / PAGE}: look at the overlays and the replays")
        if any(verdict.level == "fail" for verdict in verdicts):
            raise SystemExit(1)
