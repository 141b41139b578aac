"""The `compact` family: a small convolutional network with a Gaussian action chunk.

Under one million parameters: it trains through both stages in minutes on two CPU cores. Perception
is a convolutional trunk conditioned on the instruction (FiLM), read out by a spatial softmax
(where is it?) and a flat head (what is there?). The chunk's exploration noise is one offset shared
by all steps of the chunk; independent noise on every step averages out and explores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from rlco_datasets import spec
from rlco_datasets.contract import ACTION_DIM, Contract
from rlco_datasets.statistics import ACTION_STD_FLOOR, Normalisation
from torch import Tensor, nn

from rlco_trainer.losses import gaussian_log_prob, supervised_regression
from rlco_trainer.policies.interface import (
    Decision,
    Features,
    Observation,
    Policy,
    clip_to_contract,
)
from rlco_trainer.policies.language import instruction_ids
from rlco_trainer.policies.stem import spatial_softmax

MAP_SIZE = 16
FLAT_CHANNELS = 8
MIN_STD = 1e-6


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """Sizes and exploration of a `compact` policy."""

    channels: tuple[int, int, int] = (16, 32, 32)
    """Channels of the three convolutions."""
    hidden: int = 256
    """Width of the two hidden layers of the action head."""
    flat_features: int = 64
    """Features that the flat head makes of the last convolution's map."""
    language_buckets: int = 512
    """Hash buckets for the words of an instruction."""
    language_features: int = 32
    """Size of the instruction's embedding."""
    max_words: int = 16
    """Words of an instruction that are read."""
    exploration_std: tuple[float, float, float, float, float, float, float] = (
        *(0.0025, 0.0025, 0.0025),
        *(0.0, 0.0, 0.01),
        0.05,
    )
    """Standard deviation of the chunk-shared offset per step: translation (m), rotation vector
    (rad), gripper opening; 0 leaves a dimension out of exploration and of the log-probability."""
    still_std: float = ACTION_STD_FLOOR
    """An action dimension whose demonstrated std (m, rad or opening) is not above never moves."""

    def __post_init__(self) -> None:
        """Check that sizes and standard deviations are positive."""
        for name in ("hidden", "flat_features", "language_features", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min(self.channels) < 1 or self.language_buckets < 2:
            raise ValueError(f"channels {self.channels} / buckets {self.language_buckets} too few")
        if min(self.exploration_std) < 0 or self.still_std < 0:
            raise ValueError(
                f"exploration_std {self.exploration_std} and still_std {self.still_std} must not "
                "be negative"
            )


class Trunk(nn.Module):
    """Image and instruction to a vector: convolutions, FiLM, spatial softmax and flat head."""

    def __init__(self, config: CompactConfig) -> None:
        """Build random weights."""
        super().__init__()
        c1, c2, c3 = config.channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, c1, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(c1, c2, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(c2, c3, 3, padding=1),
        )
        self.film = nn.Linear(config.language_features, 2 * c3)
        self.keypoints = nn.Conv2d(c3, c3, 1)
        self.reduce = nn.Conv2d(c3, FLAT_CHANNELS, 1)
        self.pool = nn.AdaptiveAvgPool2d(MAP_SIZE)
        self.flat = nn.Linear(FLAT_CHANNELS * MAP_SIZE**2, config.flat_features)
        for module in (self.convolutions, self.keypoints, self.reduce):
            for parameter in module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, image: Tensor, language: Tensor) -> Tensor:
        """Map `(B, H, W, 3) uint8` and `(B, L)` to `(B, out_features)`."""
        x = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        scale, shift = self.film(language)[:, :, None, None].chunk(2, dim=1)
        x = torch.relu(self.convolutions(x) * (1 + scale) + shift)
        reduced = torch.relu(self.reduce(x))
        if reduced.shape[-2:] != (MAP_SIZE, MAP_SIZE):
            reduced = self.pool(reduced)
        flat = torch.relu(self.flat(reduced.flatten(1)))
        return torch.cat([spatial_softmax(self.keypoints(x)), flat], dim=1)


class CompactPolicy(Policy):
    """See the module's description; `architecture()` is a `CompactConfig`."""

    family: ClassVar[str] = "compact"

    def __init__(
        self, contract: Contract, normalisation: Normalisation, config: CompactConfig
    ) -> None:
        """Build random weights.

        Raises:
            ValueError: if the normalisation says that no action dimension moves.
        """
        super().__init__(contract, normalisation)
        self.config = config
        self.words = nn.Embedding(config.language_buckets, config.language_features, padding_idx=0)
        self.trunks = nn.ModuleDict({name: Trunk(config) for name in contract.camera_names})
        visual = (2 * config.channels[2] + config.flat_features) * len(contract.cameras)
        inputs = visual + contract.state_dim + config.language_features
        self.head = nn.Sequential(
            nn.Linear(inputs, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, contract.horizon * ACTION_DIM),
        )
        action_std = torch.tensor(normalisation.action_std, dtype=torch.float32)
        exploration = torch.tensor(config.exploration_std, dtype=torch.float32)
        active = action_std > config.still_std
        explored = active & (exploration > 0)
        if not bool(explored.any()):
            raise ValueError(
                f"no explored action dimension moves: the demonstrated std "
                f"{normalisation.action_std} is nowhere above still_std {config.still_std} where "
                f"exploration_std {config.exploration_std} is not 0. Check the stores."
            )
        self._constant("state_mean", normalisation.state_mean)
        self._constant("state_std", normalisation.state_std)
        self._constant("action_mean", normalisation.action_mean)
        self._constant("action_std", normalisation.action_std)
        self.register_buffer("active", active, persistent=False)
        self.register_buffer("explored", explored, persistent=False)
        std = (exploration / action_std.clamp(min=MIN_STD))[explored]
        self.register_buffer("exploration_std", std, persistent=False)

    state_mean: Tensor
    state_std: Tensor
    action_mean: Tensor
    action_std: Tensor
    active: Tensor
    explored: Tensor
    exploration_std: Tensor

    def _constant(self, name: str, values: tuple[float, ...]) -> None:
        tensor = torch.tensor(values, dtype=torch.float32)
        tensor = tensor.clamp(min=MIN_STD) if name.endswith("_std") else tensor
        self.register_buffer(name, tensor, persistent=False)

    def architecture(self) -> dict[str, Any]:
        """Return the `CompactConfig` as plain data."""
        return spec.to_plain(self.config)

    def trunk(self) -> tuple[nn.Module, ...]:
        """Return the convolutional trunks and the word embedding that conditions them."""
        return self.trunks, self.words

    @torch.no_grad()
    def encode(self, observation: Observation) -> Features:
        """Return normalised state, word ids, and images or, once frozen, trunk outputs."""
        words = instruction_ids(
            observation.instructions, self.config.language_buckets, self.config.max_words
        ).to(self.state_mean.device)
        features = {"state": (observation.state - self.state_mean) / self.state_std, "words": words}
        images = {f"image/{name}": observation.images[name] for name in self.trunks}
        if self.trunk_frozen:
            features["visual"] = self._visual(images, self._language(words))
            return features
        return features | images

    def sft_loss(self, features: Features, actions: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Smooth L1 on the normalised chunk, over moving dimensions and executed steps."""
        target = (actions - self.action_mean) / self.action_std
        return supervised_regression(
            self._mean(features), target, mask, self.active, self.contract.executed_steps
        )

    @torch.no_grad()
    def act(self, features: Features, generator: torch.Generator) -> Decision:
        """Shift the whole mean chunk by one Gaussian offset per explored dimension."""
        mean = self._mean(features)
        centre = self._centre(mean)
        offset = torch.randn(centre.shape, generator=generator) * self.exploration_std
        latent = centre + offset
        chunk = mean.clone()
        chunk[..., self.explored] += offset[:, None, :]
        return Decision(
            actions=self._to_contract(chunk),
            latent=latent,
            log_prob=gaussian_log_prob(latent, centre, self.exploration_std),
        )

    def evaluate_actions(self, features: Features, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the chunk's average over the executed steps with what was drawn."""
        centre = self._centre(self._mean(features))
        entropy = (0.5 + 0.5 * torch.log(2 * torch.pi * self.exploration_std.square())).sum()
        log_prob = gaussian_log_prob(latent, centre, self.exploration_std)
        return log_prob, entropy.expand(log_prob.shape)

    def best_actions(self, features: Features) -> Tensor:
        """Return the mean chunk."""
        return self._to_contract(self._mean(features))

    def _language(self, words: Tensor) -> Tensor:
        count = (words != 0).sum(1, keepdim=True).clamp(min=1)
        total: Tensor = self.words(words).sum(1)
        return total / count

    def _visual(self, images: Features, language: Tensor) -> Tensor:
        parts = [trunk(images[f"image/{name}"], language) for name, trunk in self.trunks.items()]
        return torch.cat(parts, dim=1)

    def _mean(self, features: Features) -> Tensor:
        """Return the `(B, horizon, 7)` normalised mean chunk; still dimensions are 0."""
        language = self._language(features["words"])
        visual = features.get("visual")
        if visual is None:
            visual = self._visual(features, language)
        flat: Tensor = self.head(torch.cat([visual, features["state"], language], dim=1))
        return flat.reshape(-1, self.contract.horizon, ACTION_DIM) * self.active

    def _centre(self, mean: Tensor) -> Tensor:
        return mean[:, : self.contract.executed_steps, self.explored].mean(1)

    def _to_contract(self, chunk: Tensor) -> Tensor:
        return clip_to_contract(chunk * self.action_std + self.action_mean, self.contract)
