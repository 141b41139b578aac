"""Names of public pi0 and pi0.5 checkpoints, and ours.

Three writers: openpi's PyTorch port, LeRobot (the same names under `model.`), and transformers'
`PI0ForConditionalGeneration`. Whatever the tables do not name is an error at loading.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlco_trainer.policies.public_weights import WeightsError

LEROBOT_PREFIX = "model.paligemma_with_expert."
OPENPI = {
    "paligemma_with_expert.paligemma.model.vision_tower.vision_model.": "vision.",
    "paligemma_with_expert.paligemma.model.multi_modal_projector.linear.": "projector.",
    "paligemma_with_expert.paligemma.model.language_model.embed_tokens.": "embed.",
    "paligemma_with_expert.paligemma.model.language_model.layers.": "prefix.layers.",
    "paligemma_with_expert.paligemma.model.language_model.norm.": "prefix.norm.",
    "paligemma_with_expert.gemma_expert.model.layers.": "expert.layers.",
    "paligemma_with_expert.gemma_expert.model.norm.": "expert.norm.",
    "action_in_proj.": "action_in.",
    "action_out_proj.": "action_out.",
    "time_mlp_in.": "time_in.",
    "time_mlp_out.": "time_out.",
    "action_time_mlp_in.": "time_in.",
    "action_time_mlp_out.": "time_out.",
    "state_proj.": "state_in.",
}
TRANSFORMERS = {
    "model.vlm.vision_tower.vision_model.": "vision.",
    "model.vlm.vision_tower.": "vision.",
    "model.vlm.multi_modal_projector.linear.": "projector.",
    "model.vlm.language_model.embed_tokens.": "embed.",
    "model.vlm.language_model.layers.": "prefix.layers.",
    "model.vlm.language_model.norm.": "prefix.norm.",
    "model.dit.layers.": "expert.layers.",
    "model.dit.norm.": "expert.norm.",
    "embed_action_time.action_in_proj.": "action_in.",
    "embed_action_time.action_time_mlp_in.": "time_in.",
    "embed_action_time.action_time_mlp_out.": "time_out.",
    "embed_action_time.state_proj.": "state_in.",
    "action_out_proj.": "action_out.",
}
TIED = "paligemma_with_expert.paligemma.lm_head.weight"
"""The language model's output, tied to its embedding: one of the two may be all that is saved."""
UNUSED = (
    "paligemma_with_expert.gemma_expert.lm_head.weight",  # the expert puts out no words
    "model.dit.embed_tokens.weight",  # nor reads any
)


def from_public(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a public checkpoint's tensors under our names; unknown names stay as they are.

    Raises:
        WeightsError: if the tied embedding and output differ, or two tensors get one name.
    """
    if any(name.startswith(LEROBOT_PREFIX) for name in tensors):
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    table = TRANSFORMERS if any(name.startswith("model.vlm.") for name in tensors) else OPENPI
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in UNUSED or name == TIED:
            continue
        new = next((table[p] + name[len(p) :] for p in table if name.startswith(p)), name)
        if new in ours:
            raise WeightsError(f"two tensors of the checkpoint are both {new}; one is {name}")
        ours[new] = tensor
    tied = tensors.get(TIED)
    if tied is not None and not torch.equal(ours.setdefault("embed.weight", tied), tied):
        raise WeightsError(f"{TIED} differs from the embedding, which it should be tied to")
    return ours
