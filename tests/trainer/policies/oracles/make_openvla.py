"""Writes data/openvla_official.json with numbers of OpenVLA's published model class, shrunk.

Run it in an environment of its own, from the repository's root, with a checkout of OpenVLA:

    pip install --no-deps transformers==4.49.0 timm==0.9.16 "tokenizers<0.22" "huggingface-hub<1"
    pip install numpy torch torchvision safetensors packaging pyyaml requests regex tqdm
    PYTHONPATH=tests:OPENVLA/prismatic/extern python tests/trainer/policies/oracles/make_openvla.py

Nothing of OpenVLA is copied: the weights come from names and shapes (`fakes.seeded_tensors`), and
the file holds names, shapes and outputs. The towers are shrunk by giving timm's builder sizes.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
from fakes.seeded_tensors import seeded, seeded_input

SIZES = {
    "dino": {"width": 32, "depth": 3, "heads": 4, "mlp": 128, "patch": 14},
    "siglip": {"width": 48, "depth": 3, "heads": 4, "mlp": 72, "patch": 14},
    "llama": {"width": 64, "depth": 2, "heads": 4, "mlp": 96, "rows": 32064},
    "image_size": 28,
}
L = 6
create = timm.create_model


def shrunk(name, **options):
    """Build timm's own architecture of that name, with few and narrow layers."""
    sizes = SIZES["dino" if "dinov2" in name else "siglip"]
    options["img_size"] = SIZES["image_size"]
    return create(
        name,
        embed_dim=sizes["width"],
        depth=sizes["depth"],
        num_heads=sizes["heads"],
        mlp_ratio=sizes["mlp"] / sizes["width"],
        **options,
    )


timm.create_model = shrunk

from hf.configuration_prismatic import OpenVLAConfig  # noqa: E402
from hf.modeling_prismatic import OpenVLAForActionPrediction  # noqa: E402

STATISTICS = {
    "bench": {
        "action": {
            "q01": [-0.03, -0.02, -0.05, -0.1, -0.2, -0.15, 0.0],
            "q99": [0.04, 0.02, 0.03, 0.12, 0.1, 0.3, 1.0],
            "mask": [True] * 6 + [False],
        }
    }
}


def build():
    llama = SIZES["llama"]
    config = OpenVLAConfig(
        vision_backbone_id="dinosiglip-vit-so-224px",
        llm_backbone_id="llama2-7b-pure",
        norm_stats=STATISTICS,
        text_config={
            "hidden_size": llama["width"],
            "num_hidden_layers": llama["depth"],
            "num_attention_heads": llama["heads"],
            "num_key_value_heads": llama["heads"],
            "intermediate_size": llama["mlp"],
            "vocab_size": llama["rows"],
            "pad_token_id": 32000,
        },
    )
    config._attn_implementation = "eager"
    model = OpenVLAForActionPrediction(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(seeded(name, parameter.shape)))
        head = model.language_model.lm_head.weight
        head[31744:32000] *= 4  # so that the likeliest token is an action, as once trained
    return model


def main():
    model = build()
    size = SIZES["image_size"]
    ids = np.abs(seeded_input("prompt", (1, L)) * 1000).astype(np.int64) % 29000
    ids[0, 0], ids[0, -1] = 1, 29871
    pixels = seeded_input("pixels", (1, 6, size, size))
    input_ids, pixel_values = torch.from_numpy(ids), torch.from_numpy(pixels)
    mask = torch.ones_like(input_ids)
    tokens = torch.from_numpy(31744 + np.arange(7)[None] * 31)
    with torch.no_grad():
        out = model(
            input_ids=torch.cat([input_ids, tokens], 1),
            attention_mask=torch.ones(1, L + 7, dtype=torch.long),
            pixel_values=pixel_values,
        )
        patches = model.projector(model.vision_backbone(pixel_values))
        action = model.predict_action(
            input_ids,
            unnorm_key="bench",
            attention_mask=mask,
            pixel_values=pixel_values,
            do_sample=False,
        )
        chosen = model.generate(
            input_ids,
            attention_mask=mask,
            pixel_values=pixel_values,
            max_new_tokens=7,
            do_sample=False,
        )[0, -7:]
    found = {
        "sizes": SIZES,
        "statistics": STATISTICS["bench"]["action"],
        "tensors": {name: list(p.shape) for name, p in model.state_dict().items()},
        "prompt": ids.tolist(),
        "tokens": tokens.tolist(),
        "patches": patches[0, :, :6].tolist(),
        "logits": out.logits[0, -8:-1, 31744:32000:15].tolist(),
        "chosen": chosen.tolist(),
        "action": action.tolist(),
    }
    out_file = Path(__file__).parents[1] / "data" / "openvla_official.json"
    out_file.write_text(json.dumps(found) + "\n")
    print(f"{out_file}: {out_file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
