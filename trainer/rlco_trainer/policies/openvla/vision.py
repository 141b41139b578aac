"""OpenVLA's image towers: DINOv2 and SigLIP patches of the last layer but one, side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.dinov2_with_registers.configuration_dinov2_with_registers import (
    Dinov2WithRegistersConfig,
)
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import (
    Dinov2WithRegistersLayer,
)
from transformers.models.siglip.configuration_siglip import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from rlco_trainer.policies.openvla.config import ImageTowerConfig
from rlco_trainer.policies.stem import STRIDE, Stem

REGISTERS = 4
IMAGENET_MEAN, IMAGENET_STD = (
    (0.484375, 0.455078125, 0.40625),
    (0.228515625, 0.2236328125, 0.224609375),
)
"""As OpenVLA's preprocessor states them: ImageNet's, rounded to bfloat16."""
NORM_EPS = 1e-6


class ImageTower(nn.Module):
    """Patches and positions, then all layers but the last; no final norm.

    The layers are the library's; the embeddings are written out, because the checkpoint's class
    and register tokens carry no position, unlike the library's class token.
    """

    def __init__(
        self,
        config: ImageTowerConfig,
        layers: list[nn.Module],
        size: int,
        *,
        leading: int,
        checkpointing: bool,
        channels: int,
        stride: int,
    ) -> None:
        """Build random weights; `leading` tokens stand in front of the patches.

        What is cut into patches has `channels`, and one place for `stride` pixels of a side.
        """
        super().__init__()
        self.checkpointing = checkpointing
        if size % config.patch:
            raise ValueError(f"images of {size} px are not tiled by patches of {config.patch} px")
        patch = config.patch // stride
        self.patches = nn.Conv2d(channels, config.width, patch, stride=patch)
        self.positions = nn.Parameter(torch.randn(1, (size // config.patch) ** 2, config.width))
        nn.init.normal_(self.positions, std=0.02)
        self.leading = nn.Parameter(torch.randn(1, leading, config.width) * 0.02)
        self.layers = nn.ModuleList(layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `(B, 3, S, S)` to `(B, patches, width)`."""
        x: Tensor = self.patches(pixels.to(self.patches.weight.dtype)).flatten(2).transpose(1, 2)
        x = torch.cat([self.leading.expand(len(x), -1, -1), x + self.positions], 1)
        for layer in self.layers:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(layer, x, None, use_reentrant=False)
            else:
                x = layer(x, None)
        return x[:, self.leading.shape[1] :]


class FusedVision(nn.Module):
    """Both towers and the projector into the language model."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dino: ImageTowerConfig,
        siglip: ImageTowerConfig,
        width: int,
        size: int,
        *,
        attention: str,
        checkpointing: bool,
        stem: Stem | None,
    ) -> None:
        """Build random weights for images of `size` pixels and tokens of `width` channels."""
        super().__init__()
        self.stem = stem
        channels, stride = (3, 1) if self.stem is None else (self.stem.out_channels, STRIDE)
        self.dino = ImageTower(
            dino,
            _dino_layers(dino, attention),
            size,
            leading=1 + REGISTERS,
            checkpointing=checkpointing,
            channels=channels,
            stride=stride,
        )
        self.siglip = ImageTower(
            siglip,
            _siglip_layers(siglip, attention),
            size,
            leading=0,
            checkpointing=checkpointing,
            channels=channels,
            stride=stride,
        )
        fused = dino.width + siglip.width
        self.fc1 = nn.Linear(fused, 4 * fused)
        self.fc2 = nn.Linear(4 * fused, width)
        self.fc3 = nn.Linear(width, width)
        for layer in (self.fc1, self.fc2, self.fc3):  # torch's default would shrink a picture to
            nn.init.kaiming_normal_(layer.weight)  # a tenth of the biases, and hide it
            nn.init.zeros_(layer.bias)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `(B, N, 3, S, S) float32` in [-1, 1] to `(B, N * patches, width)`.

        With a stem it takes the `(B, N, F)` summaries that this made of the images.
        """
        flat = pixels.flatten(0, 1)
        if self.stem is None:
            imagenet = ((flat + 1) / 2 - self.mean) / self.std
        else:
            imagenet = flat = self.stem.picture(flat)
        fused = torch.cat([self.dino(imagenet), self.siglip(flat)], 2)
        B, N = pixels.shape[:2]
        tokens: Tensor = self.project(fused).unflatten(0, (B, N)).flatten(1, 2)
        return tokens

    def project(self, fused: Tensor) -> Tensor:
        """Map both towers' `(B, patches, C)` to tokens of the language model."""
        x = nn.functional.gelu(self.fc2(nn.functional.gelu(self.fc1(fused))))
        tokens: Tensor = self.fc3(x)
        return tokens


def _dino_layers(config: ImageTowerConfig, attention: str) -> list[nn.Module]:
    if config.mlp % config.width:
        raise ValueError(f"dino mlp {config.mlp} must be a multiple of width {config.width}")
    library = Dinov2WithRegistersConfig(
        hidden_size=config.width,
        num_attention_heads=config.heads,
        mlp_ratio=config.mlp // config.width,
        layer_norm_eps=NORM_EPS,
        hidden_act="gelu",
    )
    library._attn_implementation = attention
    return [Dinov2WithRegistersLayer(library) for _ in range(config.depth - 1)]


def _siglip_layers(config: ImageTowerConfig, attention: str) -> list[nn.Module]:
    library = SiglipVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.mlp,
        num_attention_heads=config.heads,
        layer_norm_eps=NORM_EPS,
        hidden_act="gelu",
    )
    library._attn_implementation = attention
    return [SiglipEncoderLayer(library) for _ in range(config.depth - 1)]
