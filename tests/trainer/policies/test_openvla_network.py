"""The OpenVLA network: equal to the published model, alone or in a batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.seeded_tensors import seeded, seeded_input
from rlco_trainer.policies.openvla.config import (
    ImageTowerConfig,
    LlamaSizes,
    LoraConfig,
    OpenVlaConfig,
)
from rlco_trainer.policies.openvla.lora import add_adapters, under_adapters
from rlco_trainer.policies.openvla.network import VlaNetwork
from rlco_trainer.policies.openvla.tokens import decode_actions
from rlco_trainer.policies.openvla.weights import from_public
from rlco_trainer.policies.public_weights import WeightsError, load_exactly

OFFICIAL = json.loads((Path(__file__).parent / "data/openvla_official.json").read_text())
SIZES = OFFICIAL["sizes"]
DEPTHS = {"dino": SIZES["dino"]["depth"], "siglip": SIZES["siglip"]["depth"]}
FIRST, END = 31744, 32000


def config_of(**changes) -> OpenVlaConfig:
    config = OpenVlaConfig(
        dino=ImageTowerConfig(**SIZES["dino"]),
        siglip=ImageTowerConfig(**SIZES["siglip"]),
        llama=LlamaSizes(**SIZES["llama"]),
    )
    return replace(config, **changes)


def official_tensors() -> dict[str, torch.Tensor]:
    tensors = {
        name: torch.from_numpy(seeded(name, shape)) for name, shape in OFFICIAL["tensors"].items()
    }
    tensors["language_model.lm_head.weight"][FIRST:END] *= 4
    return tensors


@pytest.fixture(scope="module")
def network() -> VlaNetwork:
    built = VlaNetwork(config_of(), SIZES["image_size"]).eval()
    load_exactly(built, from_public(official_tensors(), depths=DEPTHS), where="official")
    return built


def inputs(network: VlaNetwork) -> dict[str, torch.Tensor]:
    """Return patches of the oracle's picture, its prompt and mask."""
    size = SIZES["image_size"]
    pixels = torch.from_numpy(seeded_input("pixels", (1, 6, size, size)))
    # the oracle's two towers see unrelated pictures, ours would see one: ask the towers directly
    fused = torch.cat([network.vision.dino(pixels[:, :3]), network.vision.siglip(pixels[:, 3:])], 2)
    prompt = torch.tensor(OFFICIAL["prompt"])
    return {
        "patches": network.vision.project(fused),
        "tokens": prompt,
        "token_mask": torch.ones_like(prompt, dtype=torch.bool),
    }


def padded(given: dict[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """Return the inputs with padding between the begin token and the text."""
    tokens, mask = given["tokens"], given["token_mask"]
    gap = torch.zeros(len(tokens), count, dtype=torch.int64)
    return given | {
        "tokens": torch.cat([tokens[:, :1], gap, tokens[:, 1:]], 1),
        "token_mask": torch.cat([mask[:, :1], gap.bool(), mask[:, 1:]], 1),
    }


@torch.no_grad()
@pytest.mark.parametrize("padding", [0, 3])
def test_equals_the_published_model(network, padding):
    given = padded(inputs(network), padding)
    expected = torch.tensor(OFFICIAL["patches"])
    torch.testing.assert_close(given["patches"][0, :, :6], expected, rtol=1e-5, atol=1e-5)
    logits = network.logits(**given, actions=torch.tensor(OFFICIAL["tokens"]))
    expected = torch.tensor(OFFICIAL["logits"])
    torch.testing.assert_close(logits[0, :, FIRST:END:15], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("padding", [0, 3])
def test_generates_and_scales_the_published_action(network, padding):
    given = padded(inputs(network), padding)
    chosen = network.generate(
        given["patches"], given["tokens"], given["token_mask"], lambda _, x: x.argmax(1), 7
    )
    assert chosen[0].tolist() == OFFICIAL["chosen"]
    low, high = (np.array(OFFICIAL["statistics"][q]) for q in ("q01", "q99"))
    scaled = decode_actions(chosen[0], END).numpy().astype(np.float64)
    action = np.where(
        OFFICIAL["statistics"]["mask"], 0.5 * (scaled + 1) * (high - low) + low, scaled
    )
    np.testing.assert_allclose(action, OFFICIAL["action"], rtol=0, atol=1e-7)


@torch.no_grad()
def test_parallel_decoding_sees_all_positions_and_no_token(network):
    given = inputs(network)
    parallel = VlaNetwork(config_of(decoding="parallel"), SIZES["image_size"]).eval()
    parallel.load_state_dict(network.state_dict())
    tokens = torch.tensor(OFFICIAL["tokens"])
    one, two = (parallel.logits(**given, actions=x) for x in (tokens, tokens - 9))
    torch.testing.assert_close(one, two)
    longer = parallel.logits(**given, actions=torch.cat([tokens, tokens], 1))
    assert not torch.allclose(longer[:, 0], one[:, 0])


def test_adapters_start_as_no_change_and_train_alone(network):
    given, tokens = inputs(network), torch.tensor(OFFICIAL["tokens"])
    adapted = VlaNetwork(config_of(), SIZES["image_size"]).eval()
    add_adapters(adapted, LoraConfig(rank=4))
    ours = from_public(official_tensors(), depths=DEPTHS)
    load_exactly(adapted, under_adapters(adapted, ours), where="official")
    with torch.no_grad():
        before = network.logits(**given, actions=tokens)
    after = adapted.logits(**given, actions=tokens)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    after.square().mean().backward()
    trained = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name for name, p in adapted.named_parameters() if "lora" in name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projector.fc3.bias": None}, r"missing: vision\.fc3\.bias"),
        ({"vision_backbone.featurizer.blocks.0.ls1.gamma": torch.zeros(32)}, "unexpected: .*gamma"),
        ({"vision_backbone.featurizer.reg_token": None}, "reg_token"),
    ],
)
def test_every_tensor_is_accounted_for(change, message):
    tensors = {**official_tensors(), **change}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    built = VlaNetwork(config_of(), SIZES["image_size"])
    with pytest.raises(WeightsError, match=message):
        load_exactly(built, from_public(tensors, depths=DEPTHS), where="official")
