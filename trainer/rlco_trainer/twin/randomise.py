"""Benches that the measurements do not tell from the twin: every number within its uncertainty.

Domain randomisation usually draws from ranges that someone guessed. A twin says of each measured
number how uncertain it is, so the draws here are as wide as the measurements were bad, and no
wider.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.parts import Provenance
from rlco_calibration.twin import Twin, TwinError
from rlco_datasets.frames import quaternion_wxyz, rotation_from_vector
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

WIDEST_STD = 2.0
"""Draws further than this from the measured value are drawn again."""
MAX_TRIES = 200
GROUPS = ("cameras", "objects", "drawers")
LENS = ("fx", "fy", "cx", "cy")


def drawn(twin: Twin, rng: np.random.Generator) -> Twin:
    """Return a bench that agrees with the twin's measurements.

    Each entry of `provenance` with uncertainties is varied by truncated Gaussian errors, drawn
    again where the part would be impossible (a negative friction, a gain over 1). Entries name a
    field (`table.height_m`, `objects.cube.size_m`: one number for each of the field's), or a
    camera's `intrinsics` (fx, fy, cx, cy) or `pose` (position, m, and if given rotation vector,
    rad).

    Raises:
        TwinError: naming the entry, if it names no field or has another count of numbers.
    """
    for entry in twin.provenance:
        if entry.std:
            twin = _varied(twin, entry, rng)
    return replace(twin, name=f"{twin.name}-drawn")


def moved_to(initial: InitialCondition, measured: Twin, bench: Twin) -> InitialCondition:
    """Return the start with everything lifted as much as the bench's table and boxes are higher."""
    raised = bench.table.height_m - measured.table.height_m
    lift = {
        new.name: raised + (new.size_m[2] - old.size_m[2]) / 2 * (new.kind == "box")
        for new, old in zip(bench.objects, measured.objects, strict=True)
    }
    return replace(
        initial,
        objects=tuple(_lifted(item, lift.get(item.name, raised)) for item in initial.objects),
    )


def _lifted(item: ObjectPose, by_m: float) -> ObjectPose:
    x, y, z = item.position_m
    return replace(item, position_m=(x, y, z + by_m))


def _varied(twin: Twin, entry: Provenance, rng: np.random.Generator) -> Twin:
    path = entry.name.split(".")
    group, name, field = path if len(path) == 3 else (path[0], "", path[-1])
    owner = _part(twin, group if len(path) > 1 else "", name, entry.name)
    last: ValueError | None = None
    for _ in range(MAX_TRIES):
        errors = _errors(np.array(entry.std), rng)
        try:
            changed = replace(owner, **_fields(owner, field, errors, entry))
        except TwinError:
            raise
        except ValueError as error:
            last = error
            continue
        if name:
            old = getattr(twin, group)
            changed = tuple(changed if item.name == name else item for item in old)
        return replace(twin, **{group: changed})
    raise TwinError(
        f"provenance {entry.name!r}: {MAX_TRIES} draws within its uncertainty {entry.std} were all "
        f"impossible ({last}). Correct the value or its uncertainty."
    )


def _part(twin: Twin, group: str, name: str, path: str) -> Any:
    if not name and group in ("table", "arm", "lighting", "workspace"):
        return getattr(twin, group)
    if name and group in GROUPS:
        for item in getattr(twin, group):
            if item.name == name:
                return item
    raise TwinError(
        f"provenance {path!r} has uncertainties, but names no field of twin {twin.name!r}. Name "
        "one as `rlco-calibrate diff` does, for example table.height_m or objects.cube.friction."
    )


def _errors(std: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    errors = rng.standard_normal(len(std))
    while (far := np.abs(errors) > WIDEST_STD).any():
        errors[far] = rng.standard_normal(int(far.sum()))
    return np.asarray(errors * std)


def _fields(
    owner: Any, field: str, errors: NDArray[np.float64], entry: Provenance
) -> dict[str, Any]:
    """Return the new values of the owner's fields."""
    if entry.name.startswith("cameras.") and field == "pose":
        _require(entry, len(errors) in (3, 6), "3 (position) or 6 (and rotation vector)")
        fields = {"position_m": _moved(owner.position_m, errors[:3])}
        if len(errors) == 6:
            turned = rotation_from_vector(errors[3:]) @ owner.T_base_camera[:3, :3]
            fields["quaternion_wxyz"] = tuple(quaternion_wxyz(turned).tolist())
        return fields
    if entry.name.startswith("cameras.") and field == "intrinsics":
        _require(entry, len(errors) == len(LENS), f"{len(LENS)} (fx, fy, cx, cy)")
        return {
            name: getattr(owner, name) + float(error)
            for name, error in zip(LENS, errors, strict=True)
        }
    value = getattr(owner, field, None)
    if isinstance(value, tuple):
        _require(entry, len(errors) == len(value), str(len(value)))
        return {field: _moved(value, errors)}
    if not isinstance(value, float):
        raise TwinError(f"provenance {entry.name!r} has uncertainties, but is no number")
    _require(entry, len(errors) == 1, "1")
    return {field: value + float(errors[0])}


def _require(entry: Provenance, holds: bool, expected: str) -> None:
    if not holds:
        raise TwinError(
            f"provenance {entry.name!r} states {len(entry.std)} uncertainties, expected {expected}"
        )


def _moved(values: tuple[float, ...], errors: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple((np.array(values) + errors).tolist())
