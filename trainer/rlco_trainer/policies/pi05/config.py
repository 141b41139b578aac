"""Sizes and switches of the `pi05` family (pi0.5, arXiv 2504.16054; pi0, arXiv 2410.24164)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rlco_datasets.statistics import ACTION_STD_FLOOR

from rlco_trainer.policies.stem import check_stem
from rlco_trainer.policies.tokenizers import WORDS


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """A SigLIP image tower; the defaults are So400m/14."""

    width: int = 1152
    """Channels of a patch."""
    depth: int = 27
    """Layers."""
    heads: int = 16
    """Attention heads."""
    mlp: int = 4304
    """Hidden width of the feed-forward part."""
    patch: int = 14
    """Side of a patch, pixels."""
    stem: tuple[int, ...] = ()
    """Channels of three convolutions in front of the tower; () as published: none."""

    def __post_init__(self) -> None:
        """Check that sizes are positive and heads divide the width."""
        check_stem(self.stem, self.patch)
        _positive(self, "width", "depth", "heads", "mlp", "patch")
        if self.width % self.heads:
            raise ValueError(f"vision width {self.width} is not divisible by heads {self.heads}")


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """A stack of Gemma layers."""

    width: int
    """Channels of a token."""
    mlp: int
    """Hidden width of the feed-forward part."""
    depth: int = 18
    """Layers; both towers have the same number."""
    heads: int = 8
    """Query heads."""
    kv_heads: int = 1
    """Key and value heads."""
    head_dim: int = 256
    """Channels of a head; both towers have the same number."""

    def __post_init__(self) -> None:
        """Check that sizes are positive and heads fit."""
        _positive(self, "width", "depth", "mlp", "heads", "kv_heads", "head_dim")
        if self.heads % self.kv_heads or self.width % 2 or self.head_dim % 2:
            raise ValueError(
                f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}; width "
                f"{self.width} and head_dim {self.head_dim} must be even"
            )


@dataclass(frozen=True, kw_only=True)
class FlowExploration:
    """How denoising becomes random, and its log-probability computable, for stage II."""

    estimator: Literal["flow_noise", "flow_sde"] = "flow_noise"
    """`flow_noise` adds Gaussian noise to denoising steps (ReinFlow, arXiv 2505.22094); `flow_sde`
    makes one random denoising step stochastic without changing what the flow samples from
    (Flow-GRPO, arXiv 2505.05470)."""
    shared: bool = True
    """One offset for the whole chunk, as in `compact`; else every step of it has its own."""
    noisy_steps: Literal["all", "last"] = "all"
    """`flow_noise`: the denoising steps that get noise."""
    std_low: float = 0.08
    """`flow_noise`: least standard deviation a step, scaled action units (2 = q01 to q99)."""
    std_high: float = 0.16
    """`flow_noise`: largest; a small head on the expert learns where between. Equal: fixed."""
    level: float = 0.5
    """`flow_sde`: the factor a in sigma(t) = a sqrt(t / (1 - t))."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.std_low <= self.std_high or self.level <= 0:
            raise ValueError(
                f"need 0 < std_low <= std_high and level > 0; got {self.std_low}, {self.std_high}, "
                f"{self.level}"
            )
        if self.estimator == "flow_sde" and self.shared:
            raise ValueError("flow_sde keeps the flow's distribution only with shared: false")


@dataclass(frozen=True, kw_only=True)
class Pi05Config:
    """Everything that decides the shape of a `pi05` policy; the defaults are the public model."""

    variant: Literal["pi05", "pi0"] = "pi05"
    """`pi05` puts the state into the prompt and time into adaptive norms; `pi0` has a state token
    and mixes time into the action tokens."""
    vision: VisionConfig = field(default_factory=VisionConfig)
    """The image tower."""
    prefix: TowerConfig = field(default_factory=lambda: TowerConfig(width=2048, mlp=16384))
    """The language tower, which reads images and prompt."""
    expert: TowerConfig = field(default_factory=lambda: TowerConfig(width=1024, mlp=4096))
    """The action expert."""
    vocabulary: int = 257152
    """Rows of the token embedding."""
    tokenizer: str = WORDS
    """`words` (built in), a folder, or a hub id such as google/paligemma-3b-pt-224."""
    max_tokens: int = 200
    """Room for the prompt."""
    state_in_prompt: bool = True
    """`pi05`: write the state into the prompt, as published. False is for a stem, which reads it:
    few demonstrations teach a small tower to know trajectories by their numbers, and to fail off
    them."""
    slots: tuple[str, ...] = ()
    """Camera of each image slot (base, left wrist, right wrist), "" for an empty one; () takes the
    contract's cameras in order."""
    action_dim: int = 32
    """Action dimensions of the network; those past 7 are padding."""
    denoising_steps: int = 10
    """Euler steps from noise to actions."""
    start: Literal["sampled", "zero"] = "sampled"
    """Initial noise: sampled when exploring and one fixed draw at deployment, or its mean, `zero`,
    which succeeded more often on our bench."""
    tail_weight: float = 0.25
    """Weight of the steps of a chunk that are not executed. They are denoised together with the
    others, so must not be left untrained; their loss is an own mean and dilutes nothing."""
    times: Literal["beta", "visited"] = "beta"
    """Flow times of the supervised loss: Beta(1.5, 1), as published, or those alone at which
    denoising starts a step."""
    draws: int = 1
    """Times and noises drawn for a demonstrated chunk in the supervised loss; only the expert
    computes again for each."""
    still_std: float = ACTION_STD_FLOOR
    """An action dimension whose demonstrated std (m, rad or opening) is not above never moves."""
    trained: Literal["all", "expert"] = "all"
    """`expert` keeps image and language towers as they are loaded, from stage I on."""
    exploration: FlowExploration = field(default_factory=lambda: FlowExploration(shared=False))
    """Noise for reinforcement learning."""
    cache_memory: bool = True
    """Once the trunk is frozen, let `encode` return the language tower's keys and values. Fast, and
    18 MB an observation at full size; false keeps the images and computes them each time."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the image and language towers where they are not trained: bfloat16 weights
    would lose small updates. The expert is always float32; for mixed precision of what is trained,
    see the stages' --precision."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention kernel."""
    compile: bool = False
    """Compile the denoising step with torch.compile; worth it on a GPU."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: a third more time, far less memory."""

    def __post_init__(self) -> None:
        """Check that the two towers can share attention and numbers are in range."""
        _positive(self, "vocabulary", "max_tokens", "denoising_steps", "draws")
        for name in ("depth", "head_dim", "kv_heads", "heads"):
            if getattr(self.prefix, name) != getattr(self.expert, name):
                raise ValueError(f"prefix and expert share attention, so need the same {name}")
        if self.action_dim < 7:
            raise ValueError(f"action_dim must be at least 7, got {self.action_dim}")
        if self.precision == "bfloat16" and self.trained == "all":
            raise ValueError(
                "precision bfloat16 is for weights that are not trained: set trained to expert, or "
                "keep float32 and train with --precision bf16"
            )
        if self.tail_weight < 0 or self.still_std < 0:
            raise ValueError("tail_weight and still_std must not be negative")


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
