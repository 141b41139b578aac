"""Pictures of the steps `objects`, `drawer`, `slides`, `appearance` and `tasks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rlco_calibration.drawer import DrawerFit, DrawerTouches
from rlco_calibration.objects import SizeEstimate
from rlco_calibration.parts import Drawer, Placement, Workspace
from rlco_calibration.pictures import BAD, GOOD, PLAIN, page, save_page
from rlco_calibration.recording import Recording, Track
from rlco_calibration.results import Quantities

Array = NDArray[np.float64]

AXES = "xyz"


def objects(
    frames: Mapping[str, NDArray[np.uint8]],
    marked: Mapping[str, Sequence[Array]],
    sizes: Sequence[SizeEstimate],
    path: Path,
) -> None:
    """Draw every object's first frame with what was clicked or found in it, and the sizes.

    `marked`: by capture, pixels given `(N, 2)` (red) and those of the fitted box (blue).
    """
    shown = list(frames)[:3]
    figure, panels = page("sizes of objects", len(shown) + 1, 3.4 * (len(shown) + 1))
    for name, panel in zip(shown, panels, strict=False):
        panel.imshow(frames[name])
        for pixels, colour, style in zip(
            marked.get(name, ()), (BAD, GOOD), ("x", "+"), strict=False
        ):
            panel.plot(pixels[:, 0], pixels[:, 1], style, color=colour, ms=8)
            low, high = pixels.min(axis=0) - 30, pixels.max(axis=0) + 30
            panel.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))
        panel.set(title=name)
    labels = [f"{item.object} {AXES[item.axis]}" for item in sizes]
    values = [item.value_m * 1000 for item in sizes]
    panels[-1].barh(labels, values, xerr=[1960 * item.std_m for item in sizes], color=GOOD)
    panels[-1].set(xlabel="mm, 95%", title="edges")
    save_page(figure, path)


def slides(
    model: Drawer,
    recordings: Sequence[Recording],
    tracks: Sequence[Track],
    found: Quantities,
    path: Path,
) -> None:
    """Draw, for every push of a drawer, its way and how far the hand stays behind its command."""
    numbers = ", ".join(
        f"{item.name.rpartition('.')[2]} {item.value:.2f} ({item.low:.2f} to {item.high:.2f})"
        for item in found.quantities
    )
    figure, (way, lag) = page(f"{model.name}: {numbers}", 2)
    for recording, track in zip(recordings, tracks, strict=True):
        for source, style, colour in ((recording.track, "-", "black"), (track, "--", GOOD)):
            handle = source.objects[model.handle_name][:, :3, 3]
            gone = np.linalg.norm(handle - handle[0], axis=-1)
            behind = np.linalg.norm((recording.targets - source.T_base_tcp)[:, :3, 3], axis=-1)
            way.plot(gone * 1000, style, color=colour, lw=1)
            lag.plot(behind * 1000, style, color=colour, lw=1)
    way.set(xlabel="control period", ylabel="mm", title="handle (black: measured, blue: twin)")
    lag.set(xlabel="control period", ylabel="mm", title="hand behind its command")
    save_page(figure, path)


def appearance(
    pictures: Mapping[str, tuple[Array, Array, Array]], notes: Sequence[str], path: Path
) -> None:
    """Draw the first pictures: real, as the twin showed them before, and as it shows them now."""
    shown = list(pictures.items())[:3]
    figure = Figure(figsize=(10.0, 2.9 * len(shown) + 0.4), layout="constrained")
    figure.suptitle("; ".join(notes), fontsize=11)
    rows = np.atleast_2d(figure.subplots(len(shown), 3))
    for panels, (name, frames) in zip(rows, shown, strict=True):
        titles = (f"{name}: real", "twin before", "twin now")
        for panel, frame, title in zip(panels, frames, titles, strict=True):
            panel.imshow(np.clip(frame, 0, 255).astype(np.uint8))
            panel.set(title=title, xticks=[], yticks=[])
    save_page(figure, path)


def drawer(touches: DrawerTouches, found: DrawerFit, path: Path) -> None:
    """Draw the drawer's touches from above, with its front and the way of its handle."""
    travel = found.measured.quantities[0]
    half = (travel.high - travel.low) / 2
    title = f"{touches.name}: travel {1000 * travel.value:.1f} mm +-{1000 * half:.1f} mm"
    figure, (panel,) = page(title, 1, 5.0)
    for group, colour, label in (
        (touches.closed_m, GOOD, "closed"),
        (touches.opened_m, BAD, "open"),
        (touches.front_m, PLAIN, "front"),
    ):
        points = np.array(group)
        panel.plot(points[:, 0], points[:, 1], "o", ms=4, color=colour, label=f"TCP, {label}")
    along = np.array([-found.front_normal[1], found.front_normal[0]])
    ends = np.stack([found.front_m[:2] - 0.08 * along, found.front_m[:2] + 0.08 * along])
    panel.plot(ends[:, 0], ends[:, 1], color=PLAIN)
    way = np.stack([found.handle_closed_m, found.handle_opened_m])
    panel.plot(way[:, 0], way[:, 1], "+-", color="black", label="handle")
    panel.set(aspect="equal", xlabel="x (m)", ylabel="y (m)")
    panel.legend(fontsize=7)
    save_page(figure, path)


def marks(
    places: Mapping[str, Array],
    regions: Mapping[str, Sequence[Placement]],
    workspace: Workspace,
    path: Path,
) -> None:
    """Draw every task from above: marks, the region of each object, and the workspace box.

    Args:
        places: by task and object, joined by a slash: where the marks are, `(N, 2)` m.
        regions: placements by task.
        workspace: the box.
        path: to write to.
    """
    figure, panels = page("initial states, from above", len(regions), 4.2 * len(regions))
    low, high = workspace.low_m, workspace.high_m
    colours = (GOOD, BAD, PLAIN, "black")
    for panel, (task, placements) in zip(panels, regions.items(), strict=True):
        panel.add_patch(
            Rectangle(low[:2], high[0] - low[0], high[1] - low[1], fill=False, ls="--", color=PLAIN)
        )
        for place, colour in zip(placements, colours, strict=False):
            width, depth = place.x_m[1] - place.x_m[0], place.y_m[1] - place.y_m[0]
            corner = (place.x_m[0], place.y_m[0])
            panel.add_patch(Rectangle(corner, width, depth, alpha=0.25, color=colour))
            points = places.get(f"{task}/{place.name}")
            if points is not None:
                panel.plot(points[:, 0], points[:, 1], "x", color=colour, label=place.name)
        panel.plot(0, 0, "k^", ms=5)
        panel.set(aspect="equal", xlabel="x (m)", ylabel="y (m)", title=task)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7)
    save_page(figure, path)
