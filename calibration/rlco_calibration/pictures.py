"""One picture at the end of every step, so that a person sees whether it went well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlco_calibration.handeye import HandEye, View
from rlco_calibration.intrinsics import Intrinsics
from rlco_calibration.recording import Recording, Track

Array = NDArray[np.float64]

GOOD, BAD, PLAIN = "#2a78b5", "#c0392b", "#555555"


def page(title: str, columns: int, width: float = 10.0) -> tuple[Figure, list[Any]]:
    """Return a figure with a title and `columns` panels beside one another."""
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, list(np.atleast_1d(figure.subplots(1, columns)).tolist())


def save_page(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))


def lens(found: Intrinsics, views: Sequence[View], camera: str, path: Path) -> None:
    """Draw where corners were in the frame, each view's error, and every model's held-out error."""
    width, height = found.lens.size
    title = f"lens of {camera}: {found.model}, {found.rms_px:.2f} px"
    figure, (where, error, models) = page(title, 3)
    pixels = np.concatenate([view.detection.pixels for view in views])
    where.plot(pixels[:, 0], pixels[:, 1], ".", ms=3, color=GOOD)
    where.set(xlim=(0, width), ylim=(height, 0), aspect="equal", title="corners seen")
    error.bar(range(len(found.view_rms_px)), found.view_rms_px, color=GOOD)
    error.set(xlabel="view", ylabel="px", title="error of each view")
    names = list(found.scores_px)
    colours = [GOOD if name == found.model else PLAIN for name in names]
    models.barh(names, [found.scores_px[name] for name in names], color=colours)
    models.set(xlabel="px", title="held-out error by model")
    save_page(figure, path)


def camera(found: HandEye, views: Sequence[View], name: str, path: Path) -> None:
    """Draw camera and hand from above, and the error of every view, fitted and left out."""
    title = (
        f"{name}: position +-{1.96e3 * found.position_std_m.max():.1f} mm, {found.rms_px:.2f} px"
    )
    figure, (above, error) = page(title, 2)
    hands = np.stack([view.T_base_tcp[:3, 3] for view in views])
    above.plot(hands[:, 0], hands[:, 1], "o", ms=4, color=PLAIN, label="hand")
    if found.setup == "eye_to_hand":
        eye, ahead = found.X[:3, 3], found.X[:3, 3] + 0.15 * found.X[:3, 2]
        above.plot([eye[0], ahead[0]], [eye[1], ahead[1]], color=BAD)
        above.plot(eye[0], eye[1], "s", color=BAD, label="camera")
    above.plot(0, 0, "k^", label="robot base")
    above.set(aspect="equal", xlabel="x (m)", ylabel="y (m)", title="from above")
    above.legend(fontsize=8)
    x = np.arange(len(found.view_rms_px))
    error.bar(x - 0.2, found.view_rms_px, 0.4, color=GOOD, label="fitted")
    error.bar(x + 0.2, found.left_out_px, 0.4, color=PLAIN, label="left out")
    error.set(xlabel="capture", ylabel="px", title="reprojection error")
    error.legend(fontsize=8)
    save_page(figure, path)


def table(points_m: Array, height_m: float, std_m: float, path: Path) -> None:
    """Draw the touches of the table from above, and their heights."""
    figure, (above, heights) = page(f"table: {1000 * height_m:.1f} mm +-{1960 * std_m:.1f} mm", 2)
    above.scatter(points_m[:, 0], points_m[:, 1], c=points_m[:, 2] * 1000, s=60)
    above.set(aspect="equal", xlabel="x (m)", ylabel="y (m)", title="touches")
    heights.plot((points_m[:, 2] - points_m[:, 2].mean()) * 1000, "o-", color=GOOD)
    heights.set(xlabel="touch", ylabel="mm", title="height, less the mean")
    save_page(figure, path)


def motion(recording: Recording, before: Track, after: Track, title: str, path: Path) -> None:
    """Draw a held-out motion: commanded, measured, and replayed with old and new numbers."""
    figure, panels = page(title, 3)
    for axis, panel in enumerate(panels):
        for track, style, label in (
            (recording.targets, ":", "command"),
            (recording.track.T_base_tcp, "-", "measured"),
            (before.T_base_tcp, "--", "twin before"),
            (after.T_base_tcp, "-", "twin now"),
        ):
            colour = {"twin before": BAD, "twin now": GOOD}.get(label, "black")
            panel.plot(track[:, axis, 3] * 1000, style, color=colour, label=label, lw=1)
        panel.set(xlabel="control period", ylabel=f"{'xyz'[axis]} (mm)")
    panels[0].legend(fontsize=8)
    save_page(figure, path)


def slides(recordings: Sequence[Recording], tracks: Sequence[Track], path: Path) -> None:
    """Draw how far objects slid in every push, measured and in the twin."""
    figure, (panel,) = page("pushes: distance of the object from its start", 1, 6.0)
    for recording, track in zip(recordings, tracks, strict=True):
        for name, poses in recording.track.objects.items():
            for source, style, colour in (
                (poses, "-", "black"),
                (track.objects[name], "--", GOOD),
            ):
                gone = np.linalg.norm(source[:, :3, 3] - poses[0, :3, 3], axis=-1)
                panel.plot(gone * 1000, style, color=colour, lw=1)
    panel.set(xlabel="control period", ylabel="mm (black: measured, blue: twin)")
    save_page(figure, path)
