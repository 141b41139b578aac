"""Strips of frames: one trial per policy, embedded as small JPEGs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from rlco_evaluation.records import TrialRecord
from rlco_evaluation.schedule import Trial

FRAMES_PER_STRIP = 6
WIDTH_PX = 288
SUFFIXES = {".png", ".jpg", ".jpeg"}


class FrameError(ValueError):
    """A trial's frames are missing or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Frames of one trial as data URIs, from its first to its last."""

    record: TrialRecord
    images: tuple[str, ...]


def choose(trials: Sequence[Trial], done: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return one record with frames per code, of one block if there is a block that has them all.

    The first such block is taken, whatever its outcomes: a strip shows how a trial looks.
    """
    framed = {record.index: record for record in done if record.frames}
    codes = {trial.code for trial in trials}
    blocks: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        if trial.index in framed:
            blocks.setdefault(trial.block, []).append(framed[trial.index])
    for block in blocks.values():
        if {record.code for record in block} == codes:
            return block
    return list({record.code: record for record in reversed(framed.values())}.values())


def strip(record: TrialRecord, folder: Path) -> Strip:
    """Return the strip of `record`, whose frames lie in `folder` (PNG or JPEG, sorted by name).

    Raises:
        FrameError: if there are none, or one cannot be read.
    """
    files = sorted(
        (path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES),
        key=lambda path: (len(path.stem), path.stem),
    )
    if not files:
        raise FrameError(f"trial {record.index}: no PNG or JPEG frames in {folder}")
    count = min(FRAMES_PER_STRIP, len(files))
    picks = [round(i * (len(files) - 1) / max(count - 1, 1)) for i in range(count)]
    return Strip(record=record, images=tuple(_embed(files[i]) for i in picks))


def _embed(path: Path) -> str:
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise FrameError(f"{path}: cannot read this frame ({error})") from error
    if small.width > WIDTH_PX:
        height = round(small.height * WIDTH_PX / small.width)
        small = small.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
