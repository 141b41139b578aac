"""Sizes and switches of the `openvla` family (OpenVLA, arXiv 2406.09246)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rlco_datasets.statistics import ACTION_STD_FLOOR

from rlco_trainer.policies.stem import check_stem
from rlco_trainer.policies.tokenizers import WORDS


@dataclass(frozen=True, kw_only=True)
class ImageTowerConfig:
    """A vision transformer of which the last layer but one is read."""

    width: int
    """Channels of a patch."""
    depth: int
    """Layers of the published tower; the last one is neither built nor loaded."""
    heads: int
    """Attention heads."""
    mlp: int
    """Hidden width of the feed-forward part."""
    patch: int = 14
    """Side of a patch, pixels."""

    def __post_init__(self) -> None:
        """Check that heads divide the width and a layer is left."""
        if self.depth < 2 or self.heads < 1 or self.width % self.heads or self.patch < 1:
            raise ValueError(
                f"an image tower needs depth >= 2 and heads that divide its width; got depth "
                f"{self.depth}, width {self.width}, heads {self.heads}, patch {self.patch}"
            )


@dataclass(frozen=True, kw_only=True)
class LlamaSizes:
    """The language model; the defaults are Llama 2 7B."""

    width: int = 4096
    """Channels of a token."""
    depth: int = 32
    """Layers."""
    heads: int = 32
    """Attention heads."""
    mlp: int = 11008
    """Hidden width of the feed-forward part."""
    rows: int = 32064
    """Rows of embedding and output: the tokenizer's ids, padded to a multiple of 64."""

    def __post_init__(self) -> None:
        """Check that heads divide the width."""
        if min(self.width, self.depth, self.heads, self.mlp) < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685); the paper trains OpenVLA with rank 32."""

    rank: int = 0
    """Rank of the adapter of every linear layer but the output; 0 trains the weights themselves."""
    alpha: int = 16
    """Scale of the adapters, over the rank."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.rank < 0 or self.alpha < 1:
            raise ValueError(f"need rank >= 0 and alpha >= 1, got {self.rank} and {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class OpenVlaConfig:
    """Everything that decides the shape of an `openvla` policy; the defaults are the 7B model."""

    dino: ImageTowerConfig = field(
        default_factory=lambda: ImageTowerConfig(width=1024, depth=24, heads=16, mlp=4096)
    )
    """DINOv2 with four register tokens."""
    siglip: ImageTowerConfig = field(
        default_factory=lambda: ImageTowerConfig(width=1152, depth=27, heads=16, mlp=4304)
    )
    """SigLIP So400m."""
    stem: tuple[int, ...] = ()
    """Channels of three convolutions in front of both image towers; () as published: none."""
    llama: LlamaSizes = field(default_factory=LlamaSizes)
    """The language model."""
    vocabulary: int = 32000
    """Ids of the tokenizer; the last 256 are the action bins."""
    empty_token: int = 29871
    """The id that ends every prompt (Llama's empty word), visible to attention."""
    tokenizer: str = WORDS
    """`words` (built in), a folder, or a hub id such as openvla/openvla-7b."""
    max_tokens: int = 64
    """Room for the prompt."""
    decoding: Literal["autoregressive", "parallel"] = "autoregressive"
    """`autoregressive`: one token after another, as published. `parallel`: the whole chunk in one
    pass from empty positions, all seeing each other (OpenVLA-OFT, arXiv 2502.19645)."""
    temperature: float = 1.0
    """Of the sampling in stage II; see `decision` for deployment."""
    decision: Literal["likeliest", "median"] = "likeliest"
    """The token that deployment takes: the likeliest, as published, or the median of the action's
    distribution, which is steadier where few demonstrations leave 256 bins ragged."""
    scored: Literal["vocabulary", "actions"] = "vocabulary"
    """The tokens that the supervised loss tells apart: all, as published, or the 256 action tokens
    alone, among which acting chooses anyway."""
    neighbour_bins: float = 0.0
    """Standard deviation, in bins, of the Gaussian over neighbouring tokens that the supervised
    loss asks for; 0 as published: the demonstrated token alone. Few demonstrations leave most
    tokens unseen, and this tells the network which are alike."""
    still_std: float = ACTION_STD_FLOOR
    """An action dimension whose demonstrated std (m, rad or opening) is not above never moves; its
    tokens are fixed."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters; with them the weights themselves stay as they are."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of all weights but the adapters; bfloat16 needs adapters, since bfloat16
    weights would lose small updates."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention kernel."""
    compile: bool = False
    """Compile the pass over whole sequences with torch.compile; worth it on a GPU."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: a third more time, far less memory."""

    def __post_init__(self) -> None:
        """Check that ids fit the embedding and patches agree."""
        if self.llama.rows < self.vocabulary or self.vocabulary < 512:
            raise ValueError(
                f"vocabulary {self.vocabulary} must be at least 512 and at most rows "
                f"{self.llama.rows}"
            )
        if not 0 <= self.empty_token < self.vocabulary - 256:
            raise ValueError(f"empty_token {self.empty_token} is no word of {self.vocabulary}")
        if self.dino.patch != self.siglip.patch:
            raise ValueError("dino and siglip must have the same patch, so that patches pair up")
        check_stem(self.stem, self.dino.patch)
        if self.precision == "bfloat16" and self.lora.rank == 0:
            raise ValueError("precision bfloat16 needs adapters: set lora.rank, or keep float32")
        if self.temperature <= 0 or self.max_tokens < 1:
            raise ValueError("temperature and max_tokens must be positive")
        if self.neighbour_bins > 0 and self.scored == "vocabulary":
            raise ValueError("neighbour_bins is over action tokens alone: set scored to actions")
        if min(self.still_std, self.neighbour_bins) < 0:
            raise ValueError("still_std and neighbour_bins must not be negative")
