"""How a drawer slides, by replaying pushes of it in the twin: joint friction and damping.

The arm's own compliance weighs the force: its pose stays behind the commanded one by what the
drawer's resistance bends it, at every speed of a push; and where the fingers are drawn back, the
drawer coasts on for as long as friction lets it. Friction and damping are told apart by speeds. The
drawer's mass (by scale) is let vary within its uncertainty, and the arm's stiffness adds its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.frames import quaternion_wxyz
from rlco_datasets.initial_condition import ObjectPose

from rlco_calibration import estimate
from rlco_calibration.errors import CalibrationError
from rlco_calibration.parts import Drawer
from rlco_calibration.recording import Recording, Simulator, Track
from rlco_calibration.results import Quantities
from rlco_calibration.sysid import NOISE_FLOOR, POSITION_M, Fitter, Parameter, Solution, quantities
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]

LEAST_PUSHES = 3
MOVED_M = 0.001
"""The handle is on its way from here on."""
LEAST_WAY_M = 0.01
SHUT = 0.97
"""Share of the travel beyond which the drawer ran into its stop."""
RESTING = 3
"""Last samples, in which the drawer rests."""
LEAST_MASS_STD = 0.01
UNKNOWN_MASS_STD = 0.3
"""Relative; where the twin does not state how well the mass is known."""
ROUNDS = 12


def standing(twin: Twin, model: Drawer, recording: Recording) -> Recording:
    """Return the recording with cabinet and handle of the twin where they were in it.

    The cabinet stands where it was measured; the drawer is open as far as the tracked handle says,
    so that an error of the tracker along the drawer's way moves nothing else.
    """
    c, s = np.cos(model.yaw_rad), np.sin(model.yaw_rad)
    position = (*model.position_m[:2], twin.table.height_m)
    w, x, y, z = quaternion_wxyz(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])).tolist()
    cabinet = ObjectPose(name=model.name, position_m=position, quaternion_wxyz=(w, x, y, z))
    closed = cabinet.T_base_object @ model.T_cabinet_handle
    handle = recording.track.objects[model.handle_name][0]
    opened = float((closed[:3, 3] - handle[:3, 3]) @ [c, s, 0.0]) / model.travel_m
    others = tuple(item for item in recording.initial.objects if item.name != model.name)
    initial = replace(
        recording.initial, objects=(*others, cabinet), drawer_open=float(np.clip(opened, 0, 1))
    )
    return replace(recording, initial=initial)


def slide_errors(handle: str, measured: Track, replayed: Track) -> Array:
    """Return `(6 N,)` differences of the TCP and of the handle, in units of `POSITION_M`.

    The handle's way is counted back from where it comes to rest, from when it is pushed: where
    exactly the fingers meet the bar then does not count.
    """
    ours, theirs = measured.objects[handle][:, :3, 3], replayed.objects[handle][:, :3, 3]
    pushed = np.linalg.norm(ours - ours[0], axis=-1) > MOVED_M
    to_rest = [way - way[-RESTING:].mean(axis=0) for way in (ours, theirs)]
    way = np.where(pushed[:, None], to_rest[0] - to_rest[1], 0.0)
    arm = (measured.T_base_tcp - replayed.T_base_tcp)[:, :3, 3]
    return np.concatenate([arm.ravel(), way.ravel()]) / POSITION_M


class _SlideFitter(Fitter):
    """Adds what the scale says of the mass (the last parameter) to what the pushes say."""

    def __init__(
        self,
        twin: Twin,
        parameters: Sequence[Parameter],
        recordings: Sequence[Recording],
        simulate: Simulator,
        *,
        handle: str,
        mass: tuple[float, float],
    ) -> None:
        super().__init__(
            twin,
            parameters,
            recordings,
            simulate,
            compare=lambda measured, replayed: slide_errors(handle, measured, replayed),
        )
        self._mass = mass

    def residuals(self, points: Sequence[Array]) -> list[Array]:
        log_mass, std = self._mass
        scale = [NOISE_FLOOR * np.array([x[-1] - log_mass, 0.0, 0.0]) / std for x in points]
        return [
            np.concatenate([pushes, weighed])
            for pushes, weighed in zip(super().residuals(points), scale, strict=True)
        ]


def fit(
    twin: Twin, model: Drawer, recordings: Sequence[Recording], simulate: Simulator
) -> Quantities:
    """Return the joint friction and damping of a drawer with 95% intervals.

    Each interval is the wider of two: by the residuals (least squares), and by how far the answer
    depends on which push is left out (jackknife). Each push is also predicted from the others.

    Args:
        twin: arm, table and drawer identified before.
        model: the drawer, as in the twin.
        recordings: pushes of the drawer from its stop towards shut, slow ones and fast ones.
        simulate: replays them.

    Raises:
        CalibrationError: if there are too few pushes, the handle was not tracked or hardly moved,
            or the drawer ran into its stop.
    """
    _check(model, recordings)
    stood = [standing(twin, model, recording) for recording in recordings]
    prefix = f"drawers.{model.name}"
    parameters = (
        _parameter(f"{prefix}.joint_friction_n", 0.02, 60.0),
        _parameter(f"{prefix}.joint_damping_n_s_per_m", 0.1, 300.0),
        _parameter(f"{prefix}.mass_kg", 0.02, 20.0),
    )
    mass_std = _relative_std(twin, f"{prefix}.mass_kg", model.mass_kg, UNKNOWN_MASS_STD)
    mass = (float(np.log(model.mass_kg)), max(mass_std, LEAST_MASS_STD))

    def fitter(which: Sequence[Recording]) -> Fitter:
        return _SlideFitter(twin, parameters, which, simulate, handle=model.handle_name, mass=mass)

    start = [model.joint_friction_n, model.joint_damping_n_s_per_m, model.mass_kg]
    x0 = np.log(np.maximum(start, [p.low for p in parameters]))
    solution = fitter(stood).solve(x0, ROUNDS)
    groups = np.concatenate(
        [np.full(6 * len(r.targets), number) for number, r in enumerate(stood)] + [np.full(3, -1)]
    )
    others = estimate.without_each(solution.residual, solution.jacobian, groups)
    predicted = [
        (fitter([one]).residuals([x0, solution.x + shift]))
        for one, shift in zip(stood, others, strict=True)
    ]
    before, after = (_rms_mm([pair[i][:-3] for pair in predicted]) for i in (0, 1))
    held_out = f"held-out error {after:.2f} mm, before {before:.2f} mm"
    source = (
        f"{len(stood)} pushes of the drawer replayed in the twin, each also predicted from the "
        f"others: {held_out}; mass by scale"
    )
    shown = replace(
        solution,
        covariance=_covariance(solution, others, twin),
        degrees=float(len(stood) - 1),
    )
    found = quantities(parameters, shown, source, what="the pushes of the drawer")
    return Quantities(quantities=tuple(found[:2]), notes=(held_out,))


def _parameter(name: str, low: float, high: float) -> Parameter:
    return Parameter(name=name, fields=(name,), low=low, high=high)


def _covariance(solution: Solution, shifts: Array, twin: Twin) -> Array:
    """Return `(3, 3)`: the wider of the fit's and the jackknife's, and the arm's stiffness."""
    number = len(shifts)
    spread = shifts - shifts.mean(axis=0)
    jackknife = (number - 1) / number * np.sum(spread**2, axis=0)
    stiffness = _relative_std(twin, "arm.stiffness", twin.arm.stiffness, 0.0)
    return np.diag(np.maximum(np.diag(solution.covariance), jackknife) + stiffness**2)


def _relative_std(twin: Twin, name: str, value: float, unknown: float) -> float:
    for item in twin.provenance:
        if item.name == name and item.std:
            return item.std[0] / value
    return unknown


def _rms_mm(residuals: Sequence[Array]) -> float:
    """Return the rms distance over TCP and handle, mm."""
    return float(np.sqrt(3 * np.mean(np.concatenate(residuals) ** 2)) * POSITION_M * 1000)


def _check(model: Drawer, recordings: Sequence[Recording]) -> None:
    if len(recordings) < LEAST_PUSHES:
        raise CalibrationError(
            f"{len(recordings)} pushes of the drawer: at least {LEAST_PUSHES} are needed, at "
            "different speeds"
        )
    for recording in recordings:
        name = recording.initial.name
        poses = recording.track.objects.get(model.handle_name)
        if poses is None:
            raise CalibrationError(
                f"{name}: {model.handle_name!r} was not tracked, only "
                f"{sorted(recording.track.objects)}"
            )
        way_m = float(np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3]))
        if way_m < LEAST_WAY_M:
            raise CalibrationError(
                f"{name}: the drawer moved by {way_m * 1000:.1f} mm only. Was it pulled out to "
                "its stop, and did the fingers meet its handle?"
            )
        if way_m > SHUT * model.travel_m:
            raise CalibrationError(
                f"{name}: the drawer went {way_m * 1000:.0f} mm of its {model.travel_m * 1000:.0f} "
                "mm and ran into its stop, which hides its friction. Push it less far."
            )
