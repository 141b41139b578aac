"""How a preset is trained in stage I, where a study does not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PRESET = "compact"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of stage I; what is None is left to `rlco-train stage1`."""

    steps: int
    batch: int
    threads: int
    learning_rate: float | None = None
    ema_decay: float | None = None
    stem_steps: int = 0
    """Steps of the regression that trains the stem before, which is then frozen; 0: it has none."""


_TINY = Recipe(steps=600, batch=64, threads=1, learning_rate=0.002, ema_decay=0.99, stem_steps=1500)
RECIPES = {
    DEFAULT_PRESET: Recipe(steps=3000, batch=128, threads=2),
    "pi05-tiny": _TINY,
    "openvla-tiny": _TINY,
}
"""Those of the tiny presets are docs/models.md's; a test compares them."""


def recipe_of(preset: str) -> Recipe:
    """Return a preset's recipe; one without a recipe of its own takes that of `compact`."""
    return RECIPES.get(preset, RECIPES[DEFAULT_PRESET])
