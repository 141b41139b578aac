"""Writes data/pi05_official.json with numbers of openpi's own PyTorch model, shrunk.

Run it in an environment of its own, from the repository's root:

    pip install --no-deps rlinf-openpi==0.1.1 rlinf-transformer-openpi==4.53.2 \
        jax==0.5.3 jaxlib==0.5.3 flax==0.10.2 jaxtyping==0.2.36 beartype==0.19.0 \
        einops opt_einsum wadler_lindig "tokenizers<0.22" "huggingface-hub<1"
    pip install numpy torch safetensors packaging pyyaml requests regex tqdm
    TORCHDYNAMO_DISABLE=1 PYTHONPATH=tests python tests/trainer/policies/oracles/make_pi05.py

Nothing of openpi is copied: the weights come from names and shapes (`fakes.seeded_tensors`), and
the file holds names, shapes and outputs. Towers and image tower are shrunk by replacing the
configurations that openpi builds; its 8 heads stay, since it counts on them.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openpi.models_pytorch.gemma_pytorch as gemma_pytorch
import torch
from fakes.seeded_tensors import seeded, seeded_input
from openpi.models import gemma
from openpi.models_pytorch.pi0_pytorch import PI0Pytorch
from transformers import GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

SIZES = {
    "vision": {"width": 32, "depth": 2, "heads": 4, "mlp": 48, "patch": 14},
    "prefix": {"width": 48, "depth": 2, "mlp": 64, "heads": 8, "kv_heads": 1, "head_dim": 16},
    "expert": {"width": 32, "depth": 2, "mlp": 56, "heads": 8, "kv_heads": 1, "head_dim": 16},
    "vocabulary": 320,
    "action_dim": 32,
    "image_size": 28,
    "horizon": 5,
    "steps": 4,
}
B, SLOTS, L = 2, 3, 7


def _keep(self, name, value):
    """Ignore the sizes that openpi sets on a configuration after building it."""
    if name not in self.__dict__.get("_kept", ()):
        object.__setattr__(self, name, value)


SiglipVisionConfig.__setattr__ = GemmaConfig.__setattr__ = _keep


def shrunk_paligemma():
    config = PaliGemmaConfig()
    v, vocabulary = SIZES["vision"], SIZES["vocabulary"]
    vision = SiglipVisionConfig(
        hidden_size=v["width"],
        intermediate_size=v["mlp"],
        num_hidden_layers=v["depth"],
        num_attention_heads=v["heads"],
        image_size=SIZES["image_size"],
        patch_size=v["patch"],
        projection_dim=SIZES["prefix"]["width"],
        vision_use_head=False,
        hidden_act="gelu_pytorch_tanh",
    )
    vision.projection_dim = SIZES["prefix"]["width"]
    vision.__dict__["_kept"] = ("intermediate_size", "projection_dim")
    text = GemmaConfig(vocab_size=vocabulary, hidden_size=SIZES["prefix"]["width"])
    text.__dict__["_kept"] = ("vocab_size",)
    config.vision_config, config.text_config = vision, text
    return config


def tower(name):
    t = SIZES[name]
    return gemma.Config(
        width=t["width"],
        depth=t["depth"],
        mlp_dim=t["mlp"],
        num_heads=t["heads"],
        num_kv_heads=t["kv_heads"],
        head_dim=t["head_dim"],
    )


def build(pi05):
    gemma_pytorch.CONFIG_MAPPING = {
        "paligemma": shrunk_paligemma,
        "gemma": lambda **k: GemmaConfig(**{**k, "vocab_size": SIZES["vocabulary"]}),
    }
    import openpi.models_pytorch.pi0_pytorch as module

    module._gemma = SimpleNamespace(get_config=tower)
    config = SimpleNamespace(
        pi05=pi05,
        paligemma_variant="prefix",
        action_expert_variant="expert",
        dtype="float32",
        action_dim=SIZES["action_dim"],
        action_horizon=SIZES["horizon"],
        pytorch_compile_mode=None,
    )
    model = PI0Pytorch(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(seeded(name, parameter.shape)))
    return model


def inputs():
    size, dim = SIZES["image_size"], SIZES["action_dim"]
    tokens = np.abs(seeded_input("tokens", (B, L)) * 100).astype(np.int64) % SIZES["vocabulary"]
    token_mask = np.ones((B, L), bool)
    token_mask[1, 4:] = False
    image_mask = np.array([[True, True, False], [True, False, True]])
    return {
        "images": np.tanh(seeded_input("images", (B, SLOTS, 3, size, size))),
        "image_mask": image_mask,
        "tokens": tokens,
        "token_mask": token_mask,
        "state": seeded_input("state", (B, dim)),
        "noise": seeded_input("noise", (B, SIZES["horizon"], dim)),
        "actions": seeded_input("actions", (B, SIZES["horizon"], dim)),
        "t": np.array([0.7, 0.2], np.float32),
    }


def measure(model):
    given = {name: torch.from_numpy(value) for name, value in inputs().items()}
    images = list(given["images"].unbind(1))
    masks = list(given["image_mask"].unbind(1))
    model._preprocess_observation = lambda observation, train: (
        images,
        masks,
        given["tokens"],
        given["token_mask"],
        given["state"],
    )
    observation = SimpleNamespace(state=given["state"])
    with torch.no_grad():
        loss = model(observation, given["actions"], given["noise"], given["t"])
        actions = model.sample_actions("cpu", observation, given["noise"], SIZES["steps"])
    return {"loss": loss.tolist(), "sampled": actions.tolist()}


def main():
    found = {"sizes": SIZES}
    for variant in ("pi05", "pi0"):
        model = build(variant == "pi05")
        shapes = {name: list(p.shape) for name, p in model.state_dict().items()}
        found[variant] = {"tensors": shapes, **measure(model)}
    out = Path(__file__).parents[1] / "data" / "pi05_official.json"
    out.write_text(json.dumps(found) + "\n")
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
