"""Names of OpenVLA's public checkpoint (timm and Llama), and ours."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from rlco_trainer.policies.public_weights import WeightsError

VISION = "vision_backbone."
TOWERS = {"featurizer.": "dino", "fused_featurizer.": "siglip"}
DINO_BLOCK = {
    "attn.proj.": "attention.o_proj.",
    "ls1.scale_factor": "layer_scale1.lambda1",
    "ls2.scale_factor": "layer_scale2.lambda1",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    "mlp.": "mlp.",
}
SIGLIP_BLOCK = {
    "attn.proj.": "self_attn.out_proj.",
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
    "mlp.": "mlp.",
}
BLOCKS = {"dino": DINO_BLOCK, "siglip": SIGLIP_BLOCK}
ATTENTION = {"dino": "attention", "siglip": "self_attn"}
EMBEDDINGS = {"pos_embed": "positions", "patch_embed.proj.": "patches."}
UNUSED = ("norm.", "attn_pool.")
"""After the last layer but one nothing is read: not the last layer, the norm, or the pooling."""


def from_public(tensors: dict[str, Tensor], *, depths: dict[str, int]) -> dict[str, Tensor]:
    """Return OpenVLA's tensors under our names; unknown names stay as they are.

    Args:
        tensors: the checkpoint's.
        depths: published layers of each tower, `dino` and `siglip`; the last is left out.

    Raises:
        WeightsError: if a tower's class or register tokens are missing.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("projector."):
            ours["vision." + name.removeprefix("projector.")] = tensor
        elif name.startswith("language_model."):
            ours["language." + name.removeprefix("language_model.")] = tensor
        elif not name.startswith(VISION):
            ours[name] = tensor
    for prefix, tower in TOWERS.items():
        theirs = {
            name.removeprefix(VISION + prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(VISION + prefix)
        }
        found = _tower(theirs, tower, depths[tower])
        ours |= {f"vision.{tower}.{name}": tensor for name, tensor in found.items()}
    return ours


def _tower(theirs: dict[str, Tensor], tower: str, depth: int) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {"leading": _leading(theirs, tower)}
    for name, tensor in theirs.items():
        if name.startswith(UNUSED) or name in ("cls_token", "reg_token"):
            continue
        block = re.match(r"blocks\.(\d+)\.(.*)", name)
        if block is None:
            ours[_renamed(name, EMBEDDINGS)] = tensor
        elif int(block[1]) < depth - 1:
            here, inner = f"layers.{block[1]}.", block[2]
            qkv = re.fullmatch(r"attn\.qkv\.(weight|bias)", inner)
            if qkv is None:
                ours[here + _renamed(inner, BLOCKS[tower])] = tensor
                continue
            for part, value in zip("qkv", tensor.chunk(3), strict=True):
                ours[f"{here}{ATTENTION[tower]}.{part}_proj.{qkv[1]}"] = value
    return ours


def _leading(theirs: dict[str, Tensor], tower: str) -> Tensor:
    """Return the tokens in front of the patches, `(1, n, width)`."""
    if tower == "siglip":
        width = theirs["pos_embed"].shape[-1] if "pos_embed" in theirs else 0
        return torch.zeros(1, 0, width)
    missing = [name for name in ("cls_token", "reg_token") if name not in theirs]
    if missing:
        raise WeightsError(f"{VISION}featurizer lacks {missing}; is this an OpenVLA checkpoint?")
    return torch.cat([theirs["cls_token"], theirs["reg_token"]], 1)


def _renamed(name: str, table: dict[str, str]) -> str:
    return next((table[p] + name[len(p) :] for p in table if name.startswith(p)), name)
