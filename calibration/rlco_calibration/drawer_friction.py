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
from rlco_calibration.results import Quantities, value_at, with_value
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
UNKNOWN_YAW_RAD, UNKNOWN_FRICTION = 0.01, 0.2
"""Standard uncertainties where the twin states none."""
ROUNDS = 12


def standing(twin: Twin, model: Drawer, recording: Recording) -> Recording:
    """Return the recording with the twin's handle where it was seen at the start of it.

    The cabinet, turned as measured and on the table, stands where that puts it: errors of its
    place, of the drawer's travel and of the tracker then move nothing else.
    """
    c, s = np.cos(model.yaw_rad), np.sin(model.yaw_rad)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    from_handle = turn @ (
        model.T_cabinet_handle[:3, 3] - [recording.initial.drawer_open * model.travel_m, 0.0, 0.0]
    )
    x, y, _ = recording.track.objects[model.handle_name][0][:3, 3] - from_handle
    w, i, j, k = quaternion_wxyz(turn).tolist()
    cabinet = ObjectPose(
        name=model.name,
        position_m=(float(x), float(y), twin.table.height_m),
        quaternion_wxyz=(w, i, j, k),
    )
    others = tuple(item for item in recording.initial.objects if item.name != model.name)
    return replace(recording, initial=replace(recording.initial, objects=(*others, cabinet)))


def slide_errors(handle: str, measured: Track, replayed: Track) -> Array:
    """Return `(6 N,)` differences of the TCP and of the handle, in units of `POSITION_M`.

    Only those along the handle's way count: across it fingers slide on the bar, with a friction
    that nobody has measured. The handle's way is counted back from where it comes to rest, from
    when it is pushed: where exactly the fingers meet the bar then does not count.
    """
    ours, theirs = measured.objects[handle][:, :3, 3], replayed.objects[handle][:, :3, 3]
    along = ours[-1] - ours[0]
    along = along / max(float(np.linalg.norm(along)), 1e-9)
    pushed = np.linalg.norm(ours - ours[0], axis=-1) > MOVED_M
    to_rest = [way - way[-RESTING:].mean(axis=0) for way in (ours, theirs)]
    way = np.where(pushed[:, None], to_rest[0] - to_rest[1], 0.0)
    arm = (measured.T_base_tcp - replayed.T_base_tcp)[:, :3, 3]
    both = np.concatenate([arm, way]) @ along
    return np.asarray((both[:, None] * along).ravel() / POSITION_M)


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
    depends on which push is left out (jackknife); to that comes what is shared by all pushes and
    not known exactly: the drawer's yaw, the friction of its surfaces, the arm's stiffness. Each
    push is also predicted from the others.

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
    prefix = f"drawers.{model.name}"
    parameters = tuple(
        Parameter(name=f"{prefix}.{field}", fields=(f"{prefix}.{field}",), low=low, high=high)
        for field, low, high in (
            ("joint_friction_n", 0.02, 60.0),
            ("joint_damping_n_s_per_m", 0.1, 300.0),
            ("mass_kg", 0.02, 20.0),
        )
    )
    stated = _std(twin, f"{prefix}.mass_kg", UNKNOWN_MASS_STD * model.mass_kg) / model.mass_kg
    mass = (float(np.log(model.mass_kg)), max(stated, LEAST_MASS_STD))

    def fitter(twin: Twin, which: Sequence[Recording]) -> Fitter:
        drawer = twin.drawer(model.name)
        stood = [standing(twin, drawer, recording) for recording in which]
        return _SlideFitter(twin, parameters, stood, simulate, handle=model.handle_name, mass=mass)

    start = [model.joint_friction_n, model.joint_damping_n_s_per_m, model.mass_kg]
    x0 = np.log(np.maximum(start, [p.low for p in parameters]))
    solution = fitter(twin, recordings).solve(x0, ROUNDS)
    lengths = [6 * len(recording.targets) for recording in recordings]
    groups = np.repeat([*range(len(recordings)), -1], [*lengths, 3])
    others = estimate.without_each(solution.residual, solution.jacobian, groups)
    shared = []
    for name, unknown in (
        (f"{prefix}.yaw_rad", UNKNOWN_YAW_RAD),
        (f"{prefix}.friction", UNKNOWN_FRICTION),
        ("arm.stiffness", 0.0),
    ):
        moved = with_value(twin, name, value_at(twin, name) + _std(twin, name, unknown))
        (residual,) = fitter(moved, recordings).residuals([solution.x])
        shared.append(_moved_by(residual - solution.residual, solution))
    predicted = [
        fitter(twin, [one]).residuals([x0, solution.x + shift])
        for one, shift in zip(recordings, others, strict=True)
    ]
    before, after = (_rms_mm([pair[i][:-3] for pair in predicted]) for i in (0, 1))
    held_out = f"held-out error {after:.2f} mm, before {before:.2f} mm"
    source = (
        f"{len(recordings)} pushes of the drawer replayed in the twin, each also predicted from "
        f"the others: {held_out}; mass by scale"
    )
    shown = replace(
        solution,
        covariance=_covariance(solution, others, np.array(shared)),
        degrees=float(len(recordings) - 1),
    )
    found = quantities(parameters, shown, source, what="the pushes of the drawer")
    return Quantities(quantities=tuple(found[:2]), notes=(held_out,))


def _moved_by(errors: Array, solution: Solution) -> Array:
    """Return how far small errors `(N,)` of the residuals move the solution, `(P,)`."""
    jacobian = solution.jacobian
    return np.asarray(estimate.inverse_information(jacobian.T @ jacobian) @ (jacobian.T @ errors))


def _covariance(solution: Solution, others: Array, shared: Array) -> Array:
    """Return `(P, P)`: the wider of the fit's and the jackknife's, and what all pushes share."""
    number = len(others)
    spread = others - others.mean(axis=0)
    jackknife = (number - 1) / number * np.sum(spread**2, axis=0)
    own = np.maximum(np.diag(solution.covariance), jackknife)
    return np.diag(own + np.sum(shared**2, axis=0))


def _std(twin: Twin, name: str, unknown: float) -> float:
    """Return a number's stated standard uncertainty, in its unit."""
    stated = (item.std[0] for item in twin.provenance if item.name == name and item.std)
    return next(stated, unknown)


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
