"""What the steps of a calibration leave behind: one YAML file each, and the twin made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import pose_from_quaternion, quaternion_wxyz

from rlco_calibration.errors import CalibrationError
from rlco_calibration.handeye import HandEye
from rlco_calibration.lens import Lens
from rlco_calibration.parts import CameraModel, Provenance, Vector3
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LensResult:
    """The lens of one camera. `std` is of (fx, fy, cx, cy, k1, k2, p1, p2, k3)."""

    camera: str
    lens: Lens
    std: tuple[float, ...]
    model: str
    rms_px: float
    captures: int
    scores_px: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CameraResult:
    """Pose and refined lens of one camera.

    Fixed camera: `T_base_camera`; camera on the hand: `T_tcp_camera`. `position_std_m` and
    `rotation_std_rad` are along and about the axes of that parent frame. `baselines_m` are the
    positions by plain closed-form methods, without refinement.
    """

    camera: str
    setup: Literal["eye_to_hand", "eye_in_hand"]
    position_m: Vector3
    quaternion_wxyz: tuple[float, float, float, float]
    position_std_m: Vector3
    rotation_std_rad: Vector3
    degrees: float
    lens: Lens
    lens_std: tuple[float, ...]
    rms_px: float
    left_out_px: float
    captures: int
    baselines_m: dict[str, Vector3]
    baselines_wxyz: dict[str, tuple[float, float, float, float]]

    @property
    def pose(self) -> Array:
        """`(4, 4)`."""
        return pose_from_quaternion(self.position_m, self.quaternion_wxyz)

    @classmethod
    def of(cls, camera: str, found: HandEye) -> CameraResult:
        """Return the result to be kept of a calibration."""
        return cls(
            camera=camera,
            setup=found.setup,
            position_m=vector3(found.X[:3, 3]),
            quaternion_wxyz=_quaternion(found.X),
            position_std_m=vector3(found.position_std_m),
            rotation_std_rad=vector3(found.rotation_std_rad),
            degrees=found.degrees,
            lens=found.lens,
            lens_std=tuple(found.lens_std.tolist()),
            rms_px=found.rms_px,
            left_out_px=float(np.median(found.left_out_px)),
            captures=len(found.view_rms_px),
            baselines_m={name: vector3(X[:3, 3]) for name, X in found.methods.items()},
            baselines_wxyz={name: _quaternion(X) for name, X in found.methods.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One measured number of the twin: the dotted path of its field, value and uncertainty.

    `low` and `high` bound it with 95% confidence. `identified` false says that the data could not
    tell; the twin then keeps the number that it had.
    """

    name: str
    value: float
    std: float
    low: float
    high: float
    source: str
    identified: bool = True


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """Measured numbers, of the scene or of the arm."""

    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...] = ()


def vector3(values: Array) -> Vector3:
    """Return three plain numbers."""
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def _quaternion(pose: Array) -> tuple[float, float, float, float]:
    w, x, y, z = (float(value) for value in quaternion_wxyz(pose[:3, :3]))
    return (w, x, y, z)


def with_camera(twin: Twin, result: CameraResult) -> Twin:
    """Return the twin with a camera as measured, its numbers with source and uncertainty.

    Raises:
        CalibrationError: if the camera moves with the hand, which a twin's cameras do not.
    """
    if result.setup != "eye_to_hand":
        raise CalibrationError(
            f"camera {result.camera!r} is on the hand: a twin holds fixed cameras only. Its result "
            "file is what a driver or another simulation needs."
        )
    old, lens = twin.camera(result.camera), result.lens
    if lens.size != (old.width, old.height):
        raise CalibrationError(
            f"camera {result.camera!r}: captures are {lens.size[0]}x{lens.size[1]}, the twin has "
            f"{old.width}x{old.height}. Capture at the resolution of the contract."
        )
    new: CameraModel = replace(
        old,
        fx=lens.fx,
        fy=lens.fy,
        cx=lens.cx,
        cy=lens.cy,
        distortion=lens.distortion,
        position_m=result.position_m,
        quaternion_wxyz=result.quaternion_wxyz,
    )
    how = (
        f"{result.captures} captures of a ChArUco board in the hand, joint refinement, "
        f"{result.rms_px:.2f} px rms, {result.left_out_px:.2f} px on captures left out"
    )
    prefix = f"cameras.{result.camera}"
    return with_provenance(
        replace(twin, cameras=tuple(new if c.name == new.name else c for c in twin.cameras)),
        Provenance(name=f"{prefix}.intrinsics", source=how, std=result.lens_std[:4]),
        Provenance(name=f"{prefix}.distortion", source=how, std=result.lens_std[4:]),
        Provenance(
            name=f"{prefix}.pose", source=how, std=result.position_std_m + result.rotation_std_rad
        ),
    )


def with_quantities(twin: Twin, measured: Quantities) -> Twin:
    """Return the twin with every identified number in place, its source and uncertainty."""
    for item in measured.quantities:
        if item.identified:
            twin = with_provenance(with_value(twin, item.name, item.value), _origin(twin, item))
        else:
            twin = with_provenance(
                twin, Provenance(name=item.name, source=f"kept as it was: {item.source}")
            )
    return twin


def _origin(twin: Twin, item: Quantity) -> Provenance:
    """Return the provenance of a field with one number measured: the other numbers keep theirs."""
    field, index = _field(item.name)
    if index is None:
        return Provenance(name=item.name, source=item.source, std=(item.std,))
    before = {known.name: known for known in twin.provenance}.get(field)
    count = len(value_at(twin, field))
    std = list(before.std) if before is not None and len(before.std) == count else [0.0] * count
    std[index] = item.std
    sources = [] if before is None else before.source.split(" | ")
    sources = [text for text in sources if not text.startswith(f"[{index}] ")]
    source = " | ".join([*sources, f"[{index}] {item.source}"])
    return Provenance(name=field, source=source, std=tuple(std))


def _field(path: str) -> tuple[str, int | None]:
    """Split `objects.cube.size_m[2]` into the field's path and which of its numbers is meant."""
    field, bracket, rest = path.partition("[")
    number = rest.removesuffix("]")
    if not bracket:
        return path, None
    if not (rest.endswith("]") and number.isdigit()):
        raise CalibrationError(f"{path}: write which number as in objects.cube.size_m[2]")
    return field, int(number)


def value_at(twin: Twin, path: str) -> Any:
    """Return a field's value by its path, as `with_value` names it.

    Raises:
        CalibrationError: if the twin has no such part.
    """
    whole, index = _field(path)
    if index is not None:
        return value_at(twin, whole)[index]
    group, *names, field = path.split(".")
    owner = getattr(twin, group)
    if names:
        owner = next((item for item in owner if item.name == names[0]), None)
        if owner is None:
            raise CalibrationError(f"the twin has no {path}")
    return getattr(owner, field)


def with_provenance(twin: Twin, *new: Provenance) -> Twin:
    """Return the twin with entries of these names replaced or added."""
    names = {item.name for item in new}
    kept = tuple(item for item in twin.provenance if item.name not in names)
    return replace(twin, provenance=kept + new)


def with_value(twin: Twin, path: str, value: float) -> Twin:
    """Set one number, named as `diff` prints it: `table.height_m`, `objects.cube.friction`.

    One of a field's several numbers has its place behind it: `objects.cube.size_m[2]`.
    """
    whole, index = _field(path)
    parts = whole.split(".")
    try:
        new: Any = value
        if index is not None:
            new = list(value_at(twin, whole))
            new[index] = value
            new = tuple(new)
        if len(parts) == 2:
            group, field = parts
            return _replaced(twin, group, replace(getattr(twin, group), **{field: new}))
        group, name, field = parts
        items = getattr(twin, group)
        if name not in [item.name for item in items]:
            raise CalibrationError(f"the twin has no {path}")
        changed = tuple(replace(i, **{field: new}) if i.name == name else i for i in items)
        return _replaced(twin, group, changed)
    except CalibrationError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise CalibrationError(f"cannot set {path} to {value}: {error}") from error


def _replaced(twin: Twin, field: str, value: Any) -> Twin:
    changes: dict[str, Any] = {field: value}
    return replace(twin, **changes)
