"""Fit the twin's arm, and friction, to recorded motions by replaying their commands in the twin.

Times of delay lie on the grid of the simulation's substeps, so the delay is found by trying each;
the other parameters, as logarithms, by least squares at each delay. A parameter that the data
cannot tell (its interval is too wide) is refused: the twin keeps the number that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from rlco_calibration.errors import CalibrationError
from rlco_calibration.estimate import interval, inverse_information
from rlco_calibration.recording import Recording, Simulator, Track
from rlco_calibration.results import Quantities, Quantity, with_value
from rlco_calibration.twin import Twin

Array = NDArray[np.float64]
Compare = Callable[[Track, Track], Array]
"""The errors `(N,)` of a replayed track (second) against the measured one, in sizes that count."""

POSITION_M, ROTATION_RAD = 5e-4, 2e-3
"""Sizes of errors that count the same."""
NOISE_FLOOR = 0.1
"""Least residual, in those sizes, that an interval is computed with: no twin is exact."""
STEP = 0.02
"""Relative step of the finite differences: contacts make smaller ones meaningless."""
ROUNDS = 8
WIDEST = 0.5
"""Half-width of the 95% interval, relative, beyond which a parameter is not identified."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One positive number of the twin; `fields` are all set to it."""

    name: str
    fields: tuple[str, ...]
    low: float
    high: float


ARM = (
    Parameter(name="arm.gain", fields=("arm.gain",), low=0.3, high=1.0),
    Parameter(name="arm.stiffness", fields=("arm.stiffness",), low=50.0, high=20000.0),
    Parameter(name="arm.damping", fields=("arm.damping",), low=5.0, high=2000.0),
)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Log-parameters `(P,)`, their covariance, the residuals there `(N,)` and `(N, P)` slopes."""

    x: Array
    covariance: Array
    degrees: float
    residual: Array
    jacobian: Array

    @property
    def rms(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residual**2)))


def arm_errors(measured: Track, replayed: Track) -> Array:
    """Return how far the TCP is off, in units of `POSITION_M` and `ROTATION_RAD`."""
    return _apart([(measured.T_base_tcp, replayed.T_base_tcp)])


def object_errors(measured: Track, replayed: Track) -> Array:
    """Return how far all objects are off, in the same units."""
    return _apart([(measured.objects[n], replayed.objects[n]) for n in sorted(measured.objects)])


def _apart(pairs: Sequence[tuple[Array, Array]]) -> Array:
    parts = []
    for ours, theirs in pairs:
        parts.append(((ours - theirs)[:, :3, 3] / POSITION_M).ravel())
        turn = np.swapaxes(theirs[:, :3, :3], 1, 2) @ ours[:, :3, :3]
        parts.append((Rotation.from_matrix(turn).as_rotvec() / ROTATION_RAD).ravel())
    return np.concatenate(parts)


class Fitter:
    """Least squares over log-parameters, with every finite difference simulated at once."""

    def __init__(
        self,
        twin: Twin,
        parameters: Sequence[Parameter],
        recordings: Sequence[Recording],
        simulate: Simulator,
        *,
        compare: Compare = arm_errors,
    ) -> None:
        """Take the twin to start from, and what counts as an error."""
        self._twin, self._parameters, self._recordings = twin, parameters, recordings
        self._simulate, self._compare = simulate, compare
        self._low = np.log([p.low for p in parameters])
        self._high = np.log([p.high for p in parameters])

    def twin(self, x: Array) -> Twin:
        """Return the twin with parameters `exp(x)`."""
        twin = self._twin
        for parameter, value in zip(self._parameters, np.exp(x), strict=True):
            for field in parameter.fields:
                twin = with_value(twin, field, float(value))
        return twin

    def residuals(self, points: Sequence[Array]) -> list[Array]:
        """Return the stacked errors over all recordings, for every point."""
        return [np.concatenate(each) for each in self.residuals_of_each(points)]

    def residuals_of_each(self, points: Sequence[Array]) -> list[list[Array]]:
        """Return the errors of every recording, for every point."""
        jobs = [(self.twin(x), recording) for x in points for recording in self._recordings]
        tracks = iter(self._simulate(jobs))
        return [[self._compare(r.track, next(tracks)) for r in self._recordings] for _ in points]

    def solve(self, start: Array, rounds: int = ROUNDS) -> Solution:
        """Return the solution from a start, by Levenberg-Marquardt steps of growing damping."""
        x = np.clip(start, self._low, self._high)
        (residual,) = self.residuals([x])
        jacobian = self._jacobian(x, residual)
        for _ in range(rounds):
            normal, pull = jacobian.T @ jacobian, jacobian.T @ residual
            for damp in (1e-6, 0.3, 10.0):
                step = np.linalg.solve(normal + damp * np.diag(np.diag(normal) + 1e-9), pull)
                trial = np.clip(x - step, self._low, self._high)
                (outcome,) = self.residuals([trial])
                if outcome @ outcome < residual @ residual * (1 - 1e-4):
                    break
            else:
                break
            moved = float(np.abs(trial - x).max())
            x, residual = trial, outcome
            jacobian = self._jacobian(x, residual)
            if moved < 1e-4:
                break
        degrees = max(len(residual) - len(x), 1)
        variance = max(float(residual @ residual) / degrees, NOISE_FLOOR**2)
        covariance = inverse_information(jacobian.T @ jacobian) * variance
        # neighbouring samples err together: count one independent sample per control step of lag
        thinning = _correlation_length(residual)
        return Solution(
            x=x,
            covariance=np.asarray(covariance * thinning),
            degrees=max(degrees / thinning, 3.0),
            residual=residual,
            jacobian=jacobian,
        )

    def _jacobian(self, x: Array, residual: Array) -> Array:
        steps = [
            STEP if value + STEP <= high else -STEP
            for value, high in zip(x, self._high, strict=True)
        ]
        points = []
        for index, step in enumerate(steps):
            moved = x.copy()
            moved[index] += step
            points.append(moved)
        moved_residuals = self.residuals(points)
        return np.stack(
            [(m - residual) / s for m, s in zip(moved_residuals, steps, strict=True)], axis=-1
        )


def _correlation_length(residual: Array) -> float:
    """Return how many samples carry the information of one: from the lag-one correlation."""
    series = residual.reshape(-1, 3)
    series = series - series.mean(axis=0)
    power = float(np.sum(series**2))
    if power < 1e-12:
        return 1.0
    rho = float(np.clip(np.sum(series[1:] * series[:-1]) / power, 0.0, 0.98))
    return (1 + rho) / (1 - rho)


def fit_arm(
    twin: Twin,
    recordings: Sequence[Recording],
    simulate: Simulator,
    *,
    substep_s: float,
    held_out: int = 1,
    most_delay_s: float = 0.12,
) -> Quantities:
    """Return delay, gain, stiffness and damping of the arm, with the error on held-out motions.

    Args:
        twin: where to start, and what stays.
        recordings: motions of the arm alone; the last `held_out` only test the result.
        simulate: replays them.
        substep_s: the grid of delays that the simulation can tell apart.
        held_out: how many recordings to keep for the test.
        most_delay_s: longest delay to try.

    Raises:
        CalibrationError: if there is no recording left to fit, or the arm hardly moved.
    """
    fitted, tests = list(recordings[:-held_out]), list(recordings[-held_out:])
    if not fitted:
        raise CalibrationError(
            f"{len(recordings)} recordings: at least {held_out + 1} are needed, one of them to test"
        )
    reach = max(float(np.ptp(r.track.T_base_tcp[:, :3, 3], axis=0).max()) for r in fitted)
    if reach < 0.01:
        raise CalibrationError(
            f"the arm moved by {reach * 1000:.1f} mm only: nothing about its controller can be "
            "told. Did the commands reach it?"
        )
    start = np.log([twin.arm.gain, twin.arm.stiffness, twin.arm.damping])
    first = min(fitted, key=lambda r: len(r.targets))
    solutions = {}
    nearby = start
    best_rms = np.inf
    for count in range(round(most_delay_s / substep_s) + 1):
        delayed = with_value(twin, "arm.delay_s", count * substep_s)
        fitter = Fitter(delayed, ARM, [first], simulate)
        solutions[count] = fitter.solve(nearby, rounds=3)
        nearby = solutions[count].x
        if solutions[count].rms > 1.5 * best_rms:
            break  # the errors grow with every further substep
        best_rms = min(best_rms, solutions[count].rms)
    best = min(solutions, key=lambda count: solutions[count].rms)
    delay_s = best * substep_s
    delayed = with_value(twin, "arm.delay_s", delay_s)
    final = Fitter(delayed, ARM, fitted, simulate).solve(solutions[best].x)
    tested = Fitter(delayed, ARM, tests, simulate).residuals([final.x])[0]
    untouched = Fitter(twin, ARM, tests, simulate).residuals([start])[0]
    error_mm, before_mm = _position_mm(tested), _position_mm(untouched)
    source = (
        f"{len(fitted)} recorded motions replayed in the twin; held-out error {error_mm:.2f} mm "
        f"(with the numbers before: {before_mm:.2f} mm)"
    )
    half = substep_s / 2
    delay = Quantity(
        name="arm.delay_s",
        value=delay_s,
        std=substep_s / float(np.sqrt(12)),
        low=max(delay_s - half, 0.0),
        high=delay_s + half,
        source=f"{source}; told apart in steps of {substep_s * 1000:.0f} ms",
    )
    return Quantities(
        quantities=(delay, *quantities(ARM, final, source)),
        notes=(f"held-out error {error_mm:.2f} mm, before {before_mm:.2f} mm",),
    )


def _position_mm(residual: Array) -> float:
    """Return the rms distance of positions from stacked errors of one recording, mm."""
    count = len(residual) // 2
    return float(np.sqrt(3 * np.mean(residual[:count] ** 2)) * POSITION_M * 1000)


def quantities(
    parameters: Sequence[Parameter], solution: Solution, source: str, what: str = "the motions"
) -> list[Quantity]:
    """Return the parameters, those refused that their intervals say nothing about."""
    found = []
    for index, parameter in enumerate(parameters):
        value = float(np.exp(solution.x[index]))
        std = float(np.sqrt(solution.covariance[index, index]))
        low, high = interval(float(solution.x[index]), std, solution.degrees)
        known = high - low < 2 * WIDEST
        found.append(
            Quantity(
                name=parameter.name,
                value=value,
                std=value * std,
                low=float(np.exp(min(max(low, -50), 50))),
                high=float(np.exp(min(max(high, -50), 50))),
                source=source
                if known
                else f"{what} cannot tell it (95%: {np.exp(max(low, -50)):.3g} to "
                f"{np.exp(min(high, 50)):.3g}); move faster and more, or type it in",
                identified=known,
            )
        )
    return found


def fit_friction(
    twin: Twin,
    parameter: Parameter,
    recordings: Sequence[Recording],
    simulate: Simulator,
    *,
    points: int = 9,
    rounds: int = 6,
) -> Quantities:
    """Return one friction from trials in which objects slide.

    Only the mean friction of what slides and what it slides on shows in a slide, so both fields are
    set to the same value. Contact makes the error rough, so no derivative is used: a grid over the
    parameter's range, then finer grids about the best, down to steps of 1.3%. The interval is the
    wider of two: where the error exceeds its least value by no more than its own scatter allows
    (profile likelihood, Wilks 1938), and by how far the answer depends on which push is left out
    (jackknife, with Student's t), since what is wrong in the twin pulls each push elsewhere.

    Args:
        twin: the twin, its arm identified before.
        parameter: which fields of the twin are set to the friction.
        recordings: pushes, with the objects' tracks.
        simulate: replays them.
        points: of every grid.
        rounds: finer grids.

    Raises:
        CalibrationError: if no object moved.
    """
    moved = max(
        float(np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3]))
        for r in recordings
        for poses in r.track.objects.values()
    )
    if moved < 0.01:
        raise CalibrationError(
            f"no object moved by more than {moved * 1000:.1f} mm: friction cannot be told. Did the "
            "hand reach it?"
        )
    fitter = Fitter(twin, (parameter,), recordings, simulate, compare=object_errors)
    low, high = float(np.log(parameter.low)), float(np.log(parameter.high))
    known: dict[float, Array] = {}
    """Mean squared error of each recording, by the logarithm of the friction."""
    for _ in range(rounds):
        grid = [x for x in np.linspace(low, high, points) if float(x) not in known]
        every = fitter.residuals_of_each([np.array([x]) for x in grid])
        for x, each in zip(grid, every, strict=True):
            known[float(x)] = np.array([np.mean(np.minimum(r**2, 400.0)) for r in each])
        best = _best(known, range(len(recordings)))
        width = (high - low) / (points - 1)
        low, high = best - width, best + width
        points = 5
    least = float(known[best].mean())
    slides = 6 * len(recordings)  # what one push tells: where the object ends, and turned how
    floor = max(least, NOISE_FLOOR**2)
    allowed = floor * (1 + float(chi2.ppf(0.95, 1)) / slides)
    inside = [x for x, cost in known.items() if cost.mean() <= allowed]
    half = _jackknife_half_width(known, len(recordings))
    low, high = min(*inside, best - half) - width, max(*inside, best + half) + width
    value = float(np.exp(best))
    rms_mm = float(np.sqrt(least)) * POSITION_M * 1000
    source = f"{len(recordings)} pushes replayed in the twin, {rms_mm:.2f} mm rms"
    identified = high - low < 2 * WIDEST
    return Quantities(
        quantities=tuple(
            Quantity(
                name=field,
                value=value,
                std=value * (high - low) / 3.92,
                low=float(np.exp(low)),
                high=float(np.exp(high)),
                source=source if identified else f"the pushes cannot tell it: {source}",
                identified=identified,
            )
            for field in parameter.fields
        )
    )


def _best(known: dict[float, Array], recordings: Sequence[int]) -> float:
    """Return where the mean error of some recordings is least."""
    return min(known, key=lambda x: float(known[x][list(recordings)].mean()))


def _jackknife_half_width(known: dict[float, Array], count: int) -> float:
    """Return half a 95% interval from how far the best point moves as recordings are left out."""
    if count < 2:
        return 0.0
    left_out = [_best(known, [i for i in range(count) if i != out]) for out in range(count)]
    std = float(np.sqrt((count - 1) * np.var(left_out)))
    return interval(0.0, std, count - 1)[1]
