"""Live observations against training data: do they look alike at all?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import STATE_FIELDS, Contract

from rlco_policy_server.replay.frames import Frame

LEVELS = 25.0
"""Grey levels of 255 that a camera's mean colour may move before it is worth a sentence."""


def drift(training: list[Frame], live: list[Frame], contract: Contract) -> list[str]:
    """Return what differs between the observations of two stores, in sentences."""
    found = []
    for camera in contract.camera_names:
        before, now = _colour(training, camera), _colour(live, camera)
        if np.abs(before - now[::-1]).max() < 0.5 * np.abs(before - now).max() > 0.5 * LEVELS:
            found.append(
                f"camera {camera}: mean colour {_show(now)} live, {_show(before)} in training: red "
                "and blue look swapped"
            )
        elif np.abs(before - now).max() > LEVELS:
            found.append(
                f"camera {camera}: mean colour {_show(now)} live, {_show(before)} in training: "
                "light, exposure or view changed"
            )
    before, now = _states(training), _states(live)
    low, high = before.min(axis=0), before.max(axis=0)
    margin = 0.25 * (high - low) + 1e-3
    outside = ((now < low - margin) | (now > high + margin)).mean(axis=0)
    start = 0
    for name in contract.state_layout:
        for offset in range(STATE_FIELDS[name]):
            index = start + offset
            if outside[index] > 0.1:
                found.append(
                    f"state {name}[{offset}]: {outside[index]:.0%} of the live frames lie outside "
                    f"the training range [{low[index]:.3g}, {high[index]:.3g}]; live it is "
                    f"[{now[:, index].min():.3g}, {now[:, index].max():.3g}]: units, frame or "
                    "workspace differ"
                )
        start += STATE_FIELDS[name]
    unknown = {frame.instruction for frame in live} - {frame.instruction for frame in training}
    if unknown:
        found.append(f"instructions that training never had: {sorted(unknown)}")
    return found


def _colour(frames: list[Frame], camera: str) -> NDArray[np.float64]:
    means = [frame.images[camera].reshape(-1, 3).mean(axis=0) for frame in frames]
    return np.asarray(np.mean(means, axis=0), np.float64)


def _states(frames: list[Frame]) -> NDArray[np.float64]:
    return np.stack([frame.state for frame in frames]).astype(np.float64)


def _show(colour: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in colour) + ")"
