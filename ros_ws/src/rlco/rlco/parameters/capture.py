"""The parameters of the capture node."""

from __future__ import annotations

from dataclasses import dataclass

from rlco_calibration.board import Board

from rlco.parameters.base import ParameterError, parameter
from rlco.parameters.bench import BenchParameters

PLACES = ("gripper", "table")


@dataclass(frozen=True, kw_only=True)
class CaptureParameters(BenchParameters):
    """The capture node."""

    folder: str = parameter("", "Folder of the calibration; captures go to captures/<camera>/.")
    board_place: str = parameter("gripper", "Where the board is: gripper (in the hand) or table.")
    on_hand: str = parameter(
        "",
        "Cameras on the hand, separated by commas. With the board on the table they alone capture "
        "it; with the board in the gripper all others do.",
    )
    columns: int = parameter(Board().columns, "The board's squares along x.", low=3, high=100)
    rows: int = parameter(Board().rows, "The board's squares along y.", low=3, high=100)
    square_m: float = parameter(
        Board().square_m, "Edge of a square (m), measured on the print.", low=0.001, high=0.5
    )
    marker_m: float = parameter(
        Board().marker_m, "Edge of a marker (m), measured on the print.", low=0.001, high=0.5
    )
    dictionary: str = parameter(Board().dictionary, "ArUco dictionary of the board.")
    rest_m: float = parameter(
        0.0005,
        "Refuse a capture when the TCP moved further than this (m) around the frame.",
        low=0.00001,
        high=0.01,
    )

    def __post_init__(self) -> None:
        """Check ranges, choices, the board and what must be set."""
        super().__post_init__()
        self.require("folder")
        if self.board_place not in PLACES:
            raise ParameterError(
                f"parameter 'board_place' must be one of {PLACES}, got {self.board_place!r}"
            )
        if self.board_place == "table" and not self.cameras_on_hand:
            raise ParameterError(
                "parameter 'board_place' is table: name the cameras on the hand in 'on_hand'; a "
                "fixed camera learns nothing from a board that does not move"
            )
        _ = self.board

    @property
    def cameras_on_hand(self) -> tuple[str, ...]:
        """The names of cameras on the hand."""
        return tuple(name.strip() for name in self.on_hand.split(",") if name.strip())

    @property
    def board(self) -> Board:
        """The printed board."""
        return Board(
            columns=self.columns,
            rows=self.rows,
            square_m=self.square_m,
            marker_m=self.marker_m,
            dictionary=self.dictionary,
        )
