"""The page of a check: real frames and the twin's, side by side, blended, and their edges."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rlco_calibration.twin import Twin

UInt8Image = NDArray[np.uint8]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; color: #222 }
table { border-collapse: collapse } td { padding: .3em .8em; border-bottom: 1px solid #ddd }
.pass { color: #1a7f37 } .warn { color: #9a6700 } .fail { color: #b42318; font-weight: bold }
figure { display: inline-block; margin: .4em } img { width: 320px; image-rendering: pixelated }
figcaption { font-size: 13px; color: #555 }
"""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A real frame and the twin's of the same moment, `(H, W, 3)` uint8 RGB each."""

    name: str
    real: UInt8Image
    twin: UInt8Image


def write_page(
    path: Path,
    twin: Twin,
    verdicts: Sequence[tuple[str, str, str]],
    overlays: Sequence[Overlay],
) -> None:
    """Write one HTML file that needs nothing else; `verdicts` are (name, level, text)."""
    rows = "".join(
        f'<tr><td class="{level}">{level}</td><td>{html.escape(name)}</td>'
        f"<td>{html.escape(text.partition(': ')[2])}</td></tr>"
        for name, level, text in verdicts
    )
    pictures = "".join(_section(overlay) for overlay in overlays)
    title = f"check of twin {html.escape(twin.name)} ({twin.id})"
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1><table>{rows}</table>{pictures}</html>",
        encoding="utf-8",
    )


def _section(overlay: Overlay) -> str:
    blend = cv2.addWeighted(overlay.real, 0.5, overlay.twin, 0.5, 0)
    grey = cv2.cvtColor(cv2.cvtColor(overlay.real, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    edges = np.asarray(grey // 2 + 90, np.uint8)
    edges[cv2.Canny(cv2.cvtColor(overlay.twin, cv2.COLOR_RGB2GRAY), 40, 100) > 0] = (200, 30, 30)
    parts = (
        ("real", overlay.real),
        ("twin", overlay.twin),
        ("both, half and half", blend),
        ("edges of the twin on the real frame", edges),
    )
    figures = "".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{_png(picture)}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in parts
    )
    return f"<h2>{html.escape(overlay.name)}</h2>{figures}"


def _png(picture: UInt8Image) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR))
    return base64.b64encode(data.tobytes()).decode("ascii")
