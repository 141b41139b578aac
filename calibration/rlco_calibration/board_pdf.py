"""The board as a page to print: vector graphics at true size, with a scale bar to measure."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlco_calibration.board import Board, UInt8Image
from rlco_calibration.errors import CalibrationError

PAGES_M = {"a4": (0.297, 0.210), "a3": (0.420, 0.297), "letter": (0.2794, 0.2159)}
BAR_M = 0.15
INCH_M = 0.0254
EDGE_M = 0.004
PIXELS = 150
"""Per square; the modules of the default board's markers fall on whole ones."""


def write(board: Board, path: Path, page: str = "a4") -> None:
    """Write the board to a PDF of one landscape page.

    Raises:
        CalibrationError: if the board does not fit on the page.
    """
    width, height = PAGES_M[page]
    if board.size_m[0] + 0.02 > width - 2 * EDGE_M or board.size_m[1] > height - 2 * EDGE_M:
        raise CalibrationError(
            f"a board of {board.size_m[0] * 1000:.0f} x {board.size_m[1] * 1000:.0f} mm and its "
            f"scale bar do not fit on {page}. Take fewer or smaller squares, or a larger page "
            f"({', '.join(PAGES_M)})."
        )
    figure = Figure(figsize=(width / INCH_M, height / INCH_M))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    left, top = EDGE_M + 0.002, (height + board.size_m[1]) / 2
    cell = board.square_m / PIXELS
    for (column, row), (columns, rows) in dark_blocks(board.picture(PIXELS)):
        corner = (left + column * cell, top - (row + rows) * cell)
        patch = Rectangle(corner, columns * cell, rows * cell, color="black", linewidth=0)
        axes.add_patch(patch)
    _bar(axes, width - EDGE_M - 0.014, (height - BAR_M) / 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})


def dark_blocks(picture: UInt8Image) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the dark parts of a picture as ((column, row), (columns, rows)) in its pixels."""
    dark = picture < 128
    changes = np.flatnonzero((dark[1:] != dark[:-1]).any(axis=1)) + 1
    edges = [0, *changes.tolist(), len(dark)]
    blocks = []
    for row, end in pairwise(edges):
        line = np.concatenate([[0], dark[row].astype(np.int8), [0]])
        starts, ends = np.flatnonzero(np.diff(line) > 0), np.flatnonzero(np.diff(line) < 0)
        blocks += [
            ((int(s), row), (int(e - s), end - row)) for s, e in zip(starts, ends, strict=True)
        ]
    return blocks


def _bar(axes: Any, x: float, y: float) -> None:
    patches = [
        Rectangle((x, y), 0.002, BAR_M),
        Rectangle((x - 0.004, y), 0.01, 0.0003),
        Rectangle((x - 0.004, y + BAR_M - 0.0003), 0.01, 0.0003),
    ]
    for patch in patches:
        patch.set_color("black")
        patch.set_linewidth(0)
        axes.add_patch(patch)
    axes.text(
        x + 0.004,
        y + BAR_M / 2,
        f"this bar is {BAR_M * 1000:.0f} mm: measure it",
        rotation=90,
        va="center",
        fontsize=7,
    )
