"""From recorded frames and a way to ask a policy to sentences that say what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract

from rlco_policy_server.replay.agreement import Agreement, agreement
from rlco_policy_server.replay.frames import GARBLINGS, Frame

Ask = Callable[[Frame], NDArray[np.float32]]
"""The `(horizon, 7)` chunk that a policy answers to a frame."""
BETTER = 0.7
"""A garbled input that fits with less than this share of the error betrays the pipeline."""
SAME = 1e-3
"""Two chunks that differ by less (m, rad, opening) came from the same policy and pixels."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a replay found; no findings mean that the pipeline is not to blame."""

    frames: int
    fit: Agreement
    garbled: dict[str, float]
    """Relative error when the input is garbled on purpose, by what was done."""
    findings: tuple[str, ...]
    reference_difference: float | None = None
    """Largest difference from the checkpoint asked directly, contract units."""
    recorded_difference: float | None = None
    """Largest difference from the chunks that record mode kept, contract units."""


def replay(
    frames: list[Frame], ask: Ask, contract: Contract, *, reference: Ask | None = None
) -> Replay:
    """Send `frames` through `ask`, compare with what was recorded, and name what differs.

    `reference` asks the checkpoint itself, without any pipeline: with it a difference between the
    two is told from a policy that merely learned little.

    Raises:
        ValueError: if nothing moves in the frames.
    """
    recorded = [frame.actions for frame in frames]
    answers = [ask(frame) for frame in frames]
    fit = agreement(recorded, answers)
    garbled: dict[str, float] = {}
    findings: list[str] = []
    for name, garble in GARBLINGS.items():
        altered = [ask(garble(frame, contract)) for frame in frames]
        garbled[name] = agreement(recorded, altered).relative_error
        if garbled[name] < BETTER * fit.relative_error:
            findings.append(
                f"the relative error falls from {fit.relative_error:.3f} to {garbled[name]:.3f} if "
                f"{name}: the server, or the data the policy was trained on, has it so"
            )
    findings += _action_findings(fit)
    direct = None
    if reference is not None:
        truth = [reference(frame) for frame in frames]
        direct = _largest(answers, truth)
        if direct > SAME:
            findings.append(_blame(frames, answers, reference, contract, direct))
    kept = [(a, frame.chunk) for a, frame in zip(answers, frames, strict=True)]
    pairs = [(a, chunk) for a, chunk in kept if chunk is not None and chunk.shape == a.shape]
    again = _largest(*map(list, zip(*pairs, strict=True))) if pairs else None
    if again is not None and again > SAME:
        findings.append(
            f"the answers differ from those recorded by up to {again:.4g}: another checkpoint, "
            "another preprocessing, or a policy that draws at random"
        )
    return Replay(
        frames=len(frames),
        fit=fit,
        garbled=garbled,
        findings=tuple(findings),
        reference_difference=direct,
        recorded_difference=again,
    )


def _action_findings(fit: Agreement) -> list[str]:
    found = []
    for one in fit.dimensions:
        if one.inverted_error < BETTER * one.error and one.correlation < -0.3:
            found.append(f"action {one.name} is inverted: recorded and predicted move oppositely")
        elif one.correlation > 0.7 and not 0.5 < one.scale < 2.0:
            found.append(
                f"action {one.name} is {one.scale:.3g} times the recorded one: units or "
                "normalisation differ"
            )
    if fit.lag_steps:
        when = "late" if fit.lag_steps > 0 else "early"
        found.append(
            f"the predicted actions come {abs(fit.lag_steps)} control steps {when}: observation "
            "and action are paired differently in recording and training"
        )
    if fit.relative_error > 1.0 and not found:
        found.append(
            f"the error is {fit.relative_error:.2f} times that of always answering the median "
            "action: the policy did not learn this data, or sees something else"
        )
    return found


def _blame(
    frames: list[Frame],
    answers: list[NDArray[np.float32]],
    reference: Ask,
    contract: Contract,
    direct: float,
) -> str:
    """Say which garbling of the input makes the checkpoint answer as the server does."""
    for name, garble in GARBLINGS.items():
        if _largest(answers, [reference(garble(frame, contract)) for frame in frames]) < SAME:
            return f"the server answers exactly as the checkpoint does when {name}"
    return (
        f"server and checkpoint differ by up to {direct:.4g} on the same frames, and no known "
        "mistake explains it: compare policy id, normalisation id, image size and JPEG"
    )


def _largest(ours: list[NDArray[np.float32]], theirs: list[NDArray[np.float32]]) -> float:
    return float(max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)))
