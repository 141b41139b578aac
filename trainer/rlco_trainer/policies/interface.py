"""What every policy family offers to the stages, the evaluation and the server.

Stage code never looks inside a family. It turns observations into `Features` once (`encode`), may
keep and index those along the batch, and trains through `sft_loss` and `evaluate_actions`. What
`encode` computes is the family's choice: a family whose trunk is frozen does the expensive part
there; one that trains everything only tokenises.

The random part of an action is a family's `latent`: the chunk-shared offset of a Gaussian, the
tokens of an autoregressive family, the noise of a flow. Log-probabilities live in that space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.statistics import Normalisation
from torch import Tensor, nn

from rlco_trainer.policies.stem import Stem

Features = dict[str, Tensor]
"""Named tensors that share the leading batch dimension."""


def rows_of(features: Features, rows: Tensor) -> Features:
    """Return the chosen rows of every tensor."""
    return {name: value[rows] for name, value in features.items()}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A batch of what the contract says a policy sees.

    `images`: camera name -> `(B, H, W, 3) uint8`. `state`: `(B, S) float32`, contract units.
    `instructions`: B texts.
    """

    images: dict[str, Tensor]
    state: Tensor
    instructions: tuple[str, ...]

    def to(self, device: str | torch.device) -> Observation:
        """Return the same observation on another device."""
        return Observation(
            images={name: image.to(device) for name, image in self.images.items()},
            state=self.state.to(device),
            instructions=self.instructions,
        )

    @staticmethod
    def from_numpy(
        images: Mapping[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: Sequence[str],
    ) -> Observation:
        """Wrap numpy arrays, without a copy where their memory allows."""
        return Observation(
            images={
                name: torch.from_numpy(np.ascontiguousarray(image))
                for name, image in images.items()
            },
            state=torch.from_numpy(np.ascontiguousarray(state, np.float32)),
            instructions=tuple(instructions),
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy chose for each item of a batch.

    `actions`: `(B, horizon, 7) float32`, contract units, within the contract's limits. `latent`:
    `(B, ...)`, the random choice behind them. `log_prob`: `(B,)`, its log-density, in nats.
    """

    actions: Tensor
    latent: Tensor
    log_prob: Tensor


class Policy(nn.Module, ABC):
    """One policy: a network together with the contract and normalisation it was trained under."""

    family: ClassVar[str]
    """The name that a checkpoint states."""
    uses_state: bool = True
    """Whether the robot's state changes what the policy does; if not, clients need not send it."""

    def __init__(self, contract: Contract, normalisation: Normalisation) -> None:
        """Keep what gives the weights their meaning."""
        super().__init__()
        self.contract = contract
        self.normalisation = normalisation
        self.trunk_frozen = False
        self.stem_frozen = False

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Return the family's configuration as nested dicts; enough to build it again."""

    @abstractmethod
    def trunk(self) -> tuple[nn.Module, ...]:
        """Return the modules of perception: what `freeze_trunk` stops training."""

    def stem(self) -> Stem | None:
        """Return the convolutions in front of the image towers; None where there are none."""
        return None

    def freeze_stem(self) -> None:
        """Stop training the stem; `encode` computes it from now on.

        Raises:
            ValueError: if there is none.
        """
        stem = self.stem()
        if stem is None:
            raise ValueError(f"this {self.family} policy has no stem to freeze")
        self.stem_frozen = True
        stem.requires_grad_(False)

    def freeze_trunk(self) -> None:
        """Stop training the perception part; `encode` computes it from now on."""
        self.trunk_frozen = True
        for module in self.trunk():
            module.requires_grad_(False)

    @abstractmethod
    def encode(self, observation: Observation) -> Features:
        """Return what the trainable part needs of `observation`; carries no gradient."""

    @abstractmethod
    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the supervised loss of demonstrated chunks.

        Args:
            features: what `encode` returned, batch B.
            actions: `(B, horizon, 7) float32`, contract units.
            mask: `(B, horizon) bool`, False past an episode's end.

        Returns:
            Named scalars; `loss` is the one to minimise, the others are its parts, detached.
        """

    @abstractmethod
    def act(self, features: Features, generator: torch.Generator) -> Decision:
        """Draw one exploring action chunk for each item."""

    @abstractmethod
    def evaluate_actions(self, features: Features, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(log_prob (B,), entropy (B,))` of earlier choices under the present weights."""

    def value_features(self, features: Features) -> Tensor:
        """Return `(B, F) float32`: what a critic may read of encoded observations.

        By default all that is encoded as real numbers; a family with a better summary overrides it.
        """
        parts = [v.flatten(1).float() for _, v in sorted(features.items()) if v.is_floating_point()]
        return torch.cat(parts, dim=1)

    @abstractmethod
    def best_actions(self, features: Features) -> Tensor:
        """Return the `(B, horizon, 7)` chunk that deployment executes: no exploration."""

    @torch.no_grad()
    def infer(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: Sequence[str],
    ) -> NDArray[np.float32]:
        """Return the `(B, horizon, 7) float32` chunks to execute, contract units.

        Args:
            images: camera name -> `(B, H, W, 3) uint8`, as `policy_image` returns.
            state: `(B, S) float32`, contract layout and units.
            instructions: B texts.

        Raises:
            ValueError: naming the input that does not fit the contract.
        """
        require_observation(self.contract, images, state, instructions)
        chunk = self.best_actions(self.encode(Observation.from_numpy(images, state, instructions)))
        return np.asarray(chunk.cpu().numpy(), np.float32)


def require_observation(
    contract: Contract,
    images: Mapping[str, NDArray[np.uint8]],
    state: NDArray[np.float32],
    instructions: Sequence[str],
) -> None:
    """Check a batch of observations against the contract.

    Raises:
        ValueError: naming the offending input, what it is and what the contract asks for.
    """
    B = len(instructions)
    if set(images) != set(contract.camera_names):
        raise ValueError(
            f"observation has cameras {sorted(images)}; contract {contract.name!r} asks for "
            f"{sorted(contract.camera_names)}. Send exactly those."
        )
    for camera in contract.cameras:
        image, wanted = images[camera.name], (B, camera.height, camera.width, 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise ValueError(
                f"image {camera.name!r} is {image.shape} {image.dtype}; contract "
                f"{contract.name!r} asks for {wanted} uint8. Use rlco_datasets.images.policy_image."
            )
    if state.shape != (B, contract.state_dim):
        raise ValueError(
            f"state is {state.shape}; contract {contract.name!r} asks for "
            f"{(B, contract.state_dim)} = {contract.state_layout}"
        )
    if not np.isfinite(state).all():
        raise ValueError(f"state holds NaN or infinity: {state.tolist()}; check the robot state")


def clip_to_contract(actions: Tensor, contract: Contract) -> Tensor:
    """Return `(..., 7)` actions whose deltas are shortened, and opening clipped, to the limits."""
    if actions.shape[-1] != ACTION_DIM:
        raise ValueError(f"actions are {tuple(actions.shape)}; the last dimension must be 7")
    translation, rotation, opening = actions[..., :3], actions[..., 3:6], actions[..., 6:]
    return torch.cat(
        [
            _shorten(translation, contract.max_translation_m),
            _shorten(rotation, contract.max_rotation_rad),
            opening.clamp(0.0, 1.0),
        ],
        dim=-1,
    )


def _shorten(vectors: Tensor, limit: float) -> Tensor:
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors * (limit / length.clamp(min=limit))
