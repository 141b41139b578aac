"""The page of a check: verdicts, real frames beside the twin's, and a plot of every replay."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.check_demos import ReplayError
from rlco_calibration.check_limits import Verdict
from rlco_calibration.check_plot import Line, svg
from rlco_calibration.twin import Twin

UInt8Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1340px; margin: 2em auto; color: #222;
  padding: 0 1em }
table { border-collapse: collapse } td { padding: .3em .8em; border-bottom: 1px solid #ddd;
  vertical-align: top }
.pass { color: #1a7f37 } .warn { color: #9a6700 } .fail { color: #b42318; font-weight: bold }
figure { display: inline-block; margin: .3em; vertical-align: top }
img { width: 310px; image-rendering: pixelated }
figcaption { font-size: 13px; color: #555; width: 310px } svg { margin: .3em }
"""
REAL, TWIN = "#2463a8", "#d98e2b"


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A real frame and the twin's of the same moment, `(H, W, 3)` uint8 RGB each.

    `twin_arm` `(H, W)`: where the arm is in the twin, without what is hidden; `edges_px` `(N, 2)`
    (x, y): where the real frame has the edges of its outline.
    """

    name: str
    real: UInt8Image
    twin: UInt8Image
    twin_arm: Mask
    edges_px: NDArray[np.float64]


def write_page(
    path: Path,
    twin: Twin,
    verdicts: Sequence[Verdict],
    overlays: Sequence[Overlay],
    replays: Sequence[ReplayError],
    period_s: float,
) -> None:
    """Write one HTML file that needs nothing else."""
    rows = "".join(
        f'<tr><td class="{item.level}">{item.level}</td><td>{html.escape(item.name)}</td>'
        f"<td>{html.escape(str(item).partition(': ')[2])}</td></tr>"
        for item in verdicts
    )
    pictures = "".join(_section(overlay) for overlay in overlays)
    plots = "".join(_replay(replay, period_s) for replay in replays)
    title = f"check of twin {html.escape(twin.name)} ({twin.id})"
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1><table>{rows}</table>{pictures}{plots}</html>",
        encoding="utf-8",
    )


def _section(overlay: Overlay) -> str:
    blend = cv2.addWeighted(overlay.real, 0.5, overlay.twin, 0.5, 0)
    grey = cv2.cvtColor(cv2.cvtColor(overlay.real, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    edges = np.asarray(grey // 2 + 90, np.uint8)
    inside = cv2.erode(overlay.twin_arm.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edges[overlay.twin_arm & ~inside] = (200, 30, 30)
    height, width = edges.shape[:2]
    x, y = np.clip(np.rint(overlay.edges_px).astype(int), 0, (width - 1, height - 1)).T
    edges[y, x] = (20, 230, 60)
    parts = (
        ("real", overlay.real),
        ("twin", overlay.twin),
        ("both, half and half", blend),
        ("outline of the twin's arm (red) and the real edges found (green)", edges),
    )
    figures = "".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{_png(picture)}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in parts
    )
    return f"<h2>{html.escape(overlay.name)}</h2>{figures}"


def _replay(error: ReplayError, period_s: float) -> str:
    """Return a replay's plots: where the TCP went, how far apart, and the fingers."""
    demo, twin = error.demonstration, error.replayed
    real, replayed = demo.recording.track.T_base_tcp, twin.track.T_base_tcp
    time_s = np.arange(1, len(real) + 1) * np.float64(period_s)
    plots = [
        svg(
            f"TCP {axis} (mm)",
            time_s,
            [
                Line(label="real", values=1000 * real[:, i, 3], colour=REAL, width=4.0),
                Line(label="twin", values=1000 * replayed[:, i, 3], colour=TWIN),
            ],
        )
        for i, axis in enumerate("xyz")
    ]
    plots.append(
        svg(
            "opening (mm)",
            time_s,
            [
                Line(label="real", values=1000 * demo.widths_m, colour=REAL, width=4.0),
                Line(label="twin", values=1000 * twin.widths_m, colour=TWIN),
            ],
        )
    )
    told = [
        f"position {np.sqrt(np.mean(error.position_mm**2)):.1f} mm rms, "
        f"rotation {np.sqrt(np.mean(error.rotation_deg**2)):.2f} deg rms"
    ]
    if error.gripper_s is not None:
        apart = f"{error.gripper_s:.2f} s apart" if math.isfinite(error.gripper_s) else "differ"
        told.append(f"fingers {apart}")
    if error.object_mm is not None:
        told.append(f"objects end {error.object_mm:.0f} mm apart")
    if error.solved is not None:
        told.append("solves the task" if error.solved else "<b>does not solve the task</b>")
    heading = f"{html.escape(demo.task)}: {html.escape(demo.name)}"
    return f"<h2>{heading}</h2><p>{'; '.join(told)}</p>{''.join(plots)}"


def _png(picture: UInt8Image) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR))
    return base64.b64encode(data.tobytes()).decode("ascii")
