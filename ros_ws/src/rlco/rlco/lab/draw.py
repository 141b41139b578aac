"""Draws a hidden lab: a bench like the one that was measured, and different everywhere.

What the gap does at 1 (scaled by it): the camera stands 2-3 cm and about 2 degrees off, every
colour and the light differ, friction drops to about .6 of what was measured (a drawer's joint has
about twice of it), masses by up to a quarter, the arm is softer, follows with a lag and a delay,
and the camera has noise. Geometry and tasks stay: a ruler measures those well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rlco_calibration.parts import ArmController, CameraModel, Drawer, Lighting, Provenance, Vector3
from rlco_calibration.twin import Twin
from rlco_datasets.frames import quaternion_wxyz
from scipy.spatial.transform import Rotation

CAMERA_SHIFT_M = (0.02, 0.03)
CAMERA_TURN_RAD = (math.radians(1.6), math.radians(2.4))
COLOUR_SHIFT = 0.08
LEAST_COLOUR_SHIFT = 0.03
AMBIENT_FACTOR = (0.6, 0.8)
DIRECTIONAL_FACTOR = (0.75, 1.2)
LIGHT_TURN_RAD = 0.3
FRICTION_FACTOR = (0.5, 0.7)
MASS_FACTOR = (0.75, 1.25)
STIFFNESS_FACTOR = (0.7, 0.9)
JOINT_FRICTION_FACTOR = (1.5, 2.5)
JOINT_DAMPING_FACTOR = (1.2, 2.0)
ARM_GAIN = (0.82, 0.92)
ARM_DELAY_S = (0.02, 0.04)
NOISE_STD = (2.0, 4.0)


def draw_lab(twin: Twin, *, seed: int, gap: float = 1.0) -> Twin:
    """Return a hidden lab around `twin`; the same seed and gap give the same lab.

    Args:
        twin: the training twin.
        seed: which lab.
        gap: how different it is; 0 is the twin itself, 1 as the module says.

    Raises:
        ValueError: if the gap is not in [0, 3].
    """
    if not 0 <= gap <= 3:
        raise ValueError(f"gap must be in [0, 3], got {gap}")
    rng = np.random.default_rng([seed, 0x1AB])
    dice = _Dice(rng, gap)
    friction, mass = dice.factor(FRICTION_FACTOR), dice.factor(MASS_FACTOR)
    return replace(
        twin,
        name=f"{twin.name}-lab-{seed}",
        hidden=True,
        cameras=tuple(_camera(camera, dice) for camera in twin.cameras),
        table=replace(
            twin.table,
            colour=dice.colour(twin.table.colour),
            friction=_rounded(twin.table.friction * friction),
        ),
        objects=tuple(
            replace(
                model,
                colour=dice.colour(model.colour),
                friction=_rounded(model.friction * friction),
                mass_kg=_rounded(model.mass_kg * mass),
            )
            for model in twin.objects
        ),
        drawers=tuple(_drawer(drawer, seed, gap, friction, mass) for drawer in twin.drawers),
        arm=_arm(twin.arm, dice),
        lighting=_lighting(twin.lighting, dice),
        provenance=(
            Provenance(name="lab", source=f"drawn from {twin.id} with seed {seed}, gap {gap:g}"),
        ),
    )


class _Dice:
    """Draws differences, scaled by the gap."""

    def __init__(self, rng: np.random.Generator, gap: float) -> None:
        self._rng = rng
        self.gap = gap

    def amount(self, bounds: tuple[float, float]) -> float:
        """Return a value of at least 0 that is 0 at gap 0."""
        return self.gap * float(self._rng.uniform(*bounds))

    def factor(self, bounds: tuple[float, float]) -> float:
        """Return a factor that is 1 at gap 0; the gap scales its logarithm."""
        return math.exp(self.gap * math.log(self._rng.uniform(*bounds)))

    def direction(self) -> NDArray[np.float64]:
        """Return a random unit vector `(3,)`."""
        vector = self._rng.standard_normal(3)
        return np.asarray(vector / np.linalg.norm(vector))

    def colour(self, colour: Vector3) -> Vector3:
        """Return another colour: every channel moved, none by less than can be seen."""
        size = self._rng.uniform(LEAST_COLOUR_SHIFT, COLOUR_SHIFT, 3)
        sign = self._rng.choice((-1.0, 1.0), 3)
        moved = np.asarray(colour) + self.gap * size * sign
        # A channel that would leave [0, 1] goes the other way, else it would not move at all.
        other = np.asarray(colour) - self.gap * size * sign
        return _vector(np.clip(np.where((moved < 0) | (moved > 1), other, moved), 0, 1))


def _camera(camera: CameraModel, dice: _Dice) -> CameraModel:
    shift = dice.direction() * dice.amount(CAMERA_SHIFT_M)
    turn = Rotation.from_rotvec(dice.direction() * dice.amount(CAMERA_TURN_RAD))
    rotation = turn.as_matrix() @ camera.T_base_camera[:3, :3]
    w, x, y, z = quaternion_wxyz(rotation).tolist()
    return replace(
        camera,
        position_m=_vector(np.asarray(camera.position_m) + shift),
        quaternion_wxyz=(w, x, y, z),
        noise_std=_rounded(camera.noise_std + dice.amount(NOISE_STD)),
    )


def _drawer(drawer: Drawer, seed: int, gap: float, friction: float, mass: float) -> Drawer:
    # Dice of its own: a lab is the same whether its bench has drawers or not.
    dice = _Dice(np.random.default_rng([seed, 0xD2A3, *drawer.name.encode()]), gap)
    joint, damping = dice.factor(JOINT_FRICTION_FACTOR), dice.factor(JOINT_DAMPING_FACTOR)
    return replace(
        drawer,
        colour=dice.colour(drawer.colour),
        handle_colour=dice.colour(drawer.handle_colour),
        friction=_rounded(drawer.friction * friction),
        joint_friction_n=_rounded(drawer.joint_friction_n * joint),
        joint_damping_n_s_per_m=_rounded(drawer.joint_damping_n_s_per_m * damping),
        mass_kg=_rounded(drawer.mass_kg * mass),
    )


def _arm(arm: ArmController, dice: _Dice) -> ArmController:
    return replace(
        arm,
        stiffness=_rounded(arm.stiffness * dice.factor(STIFFNESS_FACTOR)),
        gain=_rounded(arm.gain * dice.factor(ARM_GAIN)),
        delay_s=_rounded(arm.delay_s + dice.amount(ARM_DELAY_S)),
    )


def _lighting(light: Lighting, dice: _Dice) -> Lighting:
    turn = Rotation.from_rotvec(dice.direction() * dice.gap * LIGHT_TURN_RAD)
    ambient, directional = dice.factor(AMBIENT_FACTOR), dice.factor(DIRECTIONAL_FACTOR)
    return replace(
        light,
        ambient=_vector(np.asarray(light.ambient) * ambient),
        directional=_vector(np.asarray(light.directional) * directional),
        direction=_vector(turn.apply(light.direction)),
        backdrop_colour=dice.colour(light.backdrop_colour),
    )


def _vector(values: Sequence[float] | NDArray[np.float64]) -> Vector3:
    x, y, z = (_rounded(float(value)) for value in values)
    return (x, y, z)


def _rounded(value: float) -> float:
    return round(value, 6)
