"""The pi0.5 network: equal to the official model and to transformers' pi0, cached or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.seeded_tensors import seeded, seeded_input
from rlco_trainer.policies.pi05.config import Pi05Config, TowerConfig, VisionConfig
from rlco_trainer.policies.pi05.flow import mixed, sample_ode
from rlco_trainer.policies.pi05.network import FlowNetwork
from rlco_trainer.policies.pi05.weights import TIED, from_public
from rlco_trainer.policies.public_weights import WeightsError, load_exactly
from transformers import PI0Config, PI0ForConditionalGeneration

OFFICIAL = json.loads((Path(__file__).parent / "data/pi05_official.json").read_text())
SIZES = OFFICIAL["sizes"]
B, SLOTS, L = 2, 3, 7
H, A = SIZES["horizon"], SIZES["action_dim"]


def config_of(variant: str, **changes) -> Pi05Config:
    config = Pi05Config(
        variant=variant,
        vision=VisionConfig(**SIZES["vision"]),
        prefix=TowerConfig(**SIZES["prefix"]),
        expert=TowerConfig(**SIZES["expert"]),
        vocabulary=SIZES["vocabulary"],
        action_dim=A,
    )
    return replace(config, **changes)


def official_tensors(variant: str) -> dict[str, torch.Tensor]:
    tensors = {
        name: torch.from_numpy(seeded(name, shape))
        for name, shape in OFFICIAL[variant]["tensors"].items()
    }
    embedding = TIED.replace("lm_head", "model.language_model.embed_tokens")
    assert embedding in tensors
    return tensors | {TIED: tensors[embedding]}


def network_of(variant: str, **changes) -> FlowNetwork:
    network = FlowNetwork(config_of(variant, **changes), SIZES["image_size"]).eval()
    load_exactly(network, from_public(official_tensors(variant)), where="official")
    return network


def inputs() -> dict[str, torch.Tensor]:
    """Return the oracle's inputs, as `oracles/make_pi05.py` makes them."""
    size = SIZES["image_size"]
    tokens = np.abs(seeded_input("tokens", (B, L)) * 100).astype(np.int64) % SIZES["vocabulary"]
    token_mask = np.ones((B, L), bool)
    token_mask[1, 4:] = False
    given = {
        "images": np.tanh(seeded_input("images", (B, SLOTS, 3, size, size))),
        "image_mask": np.array([[True, True, False], [True, False, True]]),
        "tokens": tokens,
        "token_mask": token_mask,
        "state": seeded_input("state", (B, A)),
        "noise": seeded_input("noise", (B, H, A)),
        "actions": seeded_input("actions", (B, H, A)),
        "t": np.array([0.7, 0.2], np.float32),
    }
    return {name: torch.from_numpy(value) for name, value in given.items()}


def memory_of(network: FlowNetwork, given: dict[str, torch.Tensor]):
    return network.remember(*(given[k] for k in ("images", "image_mask", "tokens", "token_mask")))


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", ["pi05", "pi0"])
def test_equals_the_official_model(variant, attention):
    network, given = network_of(variant, attention=attention), inputs()
    memory = memory_of(network, given)
    x_t = mixed(given["actions"], given["noise"], given["t"])
    v, _ = network.velocity(memory, x_t, given["t"], given["state"])
    loss = (given["noise"] - given["actions"] - v).square()
    official = torch.tensor(OFFICIAL[variant]["loss"])
    torch.testing.assert_close(loss, official, rtol=1e-5, atol=1e-5)
    sampled = sample_ode(
        lambda x, t: network.velocity(memory, x, t, given["state"])[0],
        given["noise"],
        SIZES["steps"],
    )
    official = torch.tensor(OFFICIAL[variant]["sampled"])
    torch.testing.assert_close(sampled, official, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_pi0_equals_the_one_in_transformers():
    size, image_token = SIZES["image_size"], SIZES["vocabulary"] - 1
    v, p, e = SIZES["vision"], SIZES["prefix"], SIZES["expert"]

    def gemma(sizes: dict[str, int]) -> dict[str, object]:
        return {
            "model_type": "gemma",
            "hidden_size": sizes["width"],
            "num_hidden_layers": sizes["depth"],
            "intermediate_size": sizes["mlp"],
            "num_attention_heads": sizes["heads"],
            "num_key_value_heads": sizes["kv_heads"],
            "head_dim": sizes["head_dim"],
            "vocab_size": SIZES["vocabulary"],
        }

    theirs = PI0ForConditionalGeneration(
        PI0Config(
            vlm_config={
                "model_type": "paligemma",
                "text_config": gemma(p),
                "vision_config": {
                    "model_type": "siglip_vision_model",
                    "hidden_size": v["width"],
                    "intermediate_size": v["mlp"],
                    "num_hidden_layers": v["depth"],
                    "num_attention_heads": v["heads"],
                    "patch_size": v["patch"],
                    "image_size": size,
                    "projection_dim": p["width"],
                    "vision_use_head": False,
                    "hidden_act": "gelu_pytorch_tanh",
                },
                "projection_dim": p["width"],
                "image_token_id": image_token,
            },
            dit_config=gemma(e),
            chunk_size=H,
            max_state_dim=A,
            max_action_dim=A,
        )
    ).eval()
    for name, parameter in theirs.named_parameters():
        parameter.copy_(torch.from_numpy(seeded(name, parameter.shape)))
    # theirs has float32 frequencies up to 1571, 1e-5 off in phase; the official ones are float64
    fraction = torch.linspace(0, 1, e["width"] // 2, dtype=torch.float64)
    period = 4e-3 * 1000.0**fraction
    theirs.embed_action_time.sinusoid_embeds.sinusoid_freq = 2 * torch.pi / period
    ours = FlowNetwork(config_of("pi0"), size).eval()
    load_exactly(ours, from_public(dict(theirs.state_dict())), where="transformers")
    given = inputs()
    present = torch.ones(B, SLOTS, dtype=torch.bool)
    words = given["tokens"].clamp(max=image_token - 1)
    patches = (size // v["patch"]) ** 2
    pictures = torch.full((B, SLOTS * patches), image_token)
    mask = torch.cat([torch.ones_like(pictures, dtype=torch.bool), given["token_mask"]], 1)
    expected = theirs.sample_actions(
        state=given["state"],
        input_ids=torch.cat([pictures, words], 1),
        pixel_values=given["images"],
        noise=given["noise"],
        attention_mask=mask,
        pixel_attention_mask=present,
        num_steps=SIZES["steps"],
    )
    memory = ours.remember(given["images"], present, words, given["token_mask"])
    sampled = sample_ode(
        lambda x, t: ours.velocity(memory, x, t, given["state"])[0], given["noise"], SIZES["steps"]
    )
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_empty_slot_may_be_left_out():
    network, given = network_of("pi05"), inputs()
    images, present = given["images"][:1], given["image_mask"][:1]
    words = given["tokens"][:1], given["token_mask"][:1]
    memories = [
        network.remember(images, present, *words),
        network.remember(images[:, :2], present[:, :2], *words),
    ]
    x, t = given["noise"][:1], given["t"][:1]
    one, two = (network.velocity(memory, x, t)[0] for memory in memories)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_masked_does_not_matter():
    network, given = network_of("pi05"), inputs()
    spoiled = {name: value.clone() for name, value in given.items()}
    spoiled["images"][0, 2], spoiled["tokens"][1, 4:] = 0.5, 7
    one, two = (
        network.velocity(memory_of(network, x), given["noise"], given["t"])[0]
        for x in (given, spoiled)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["pi05", "pi0"])
def test_chunks_of_one_observation_share_its_memory_and_do_not_see_each_other(variant):
    network, given = network_of(variant), inputs()
    memory = memory_of(network, given)
    x = torch.stack([given["noise"], given["actions"], 2 * given["noise"]], 1)
    t = torch.tensor([[0.7, 0.1, 0.4], [0.2, 0.9, 0.3]])
    together, _ = network.velocity(memory, x.flatten(0, 1), t.flatten(), given["state"])
    alone = [network.velocity(memory, x[:, d], t[:, d], given["state"])[0] for d in range(3)]
    torch.testing.assert_close(together, torch.stack(alone, 1).flatten(0, 1), rtol=0, atol=1e-5)


def test_recomputing_layers_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        network, given = network_of("pi05", checkpointing=checkpointing).train(), inputs()
        v, _ = network.velocity(memory_of(network, given), given["noise"], given["t"])
        v.square().mean().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert "prefix.layers.0.mlp.up_proj.weight" in gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


class TestKeyMap:
    def test_lerobot_writes_the_same_names_under_a_prefix(self):
        ours = from_public(official_tensors("pi05"))
        lerobot = {f"model.{name}": tensor for name, tensor in official_tensors("pi05").items()}
        assert from_public(lerobot).keys() == ours.keys()

    def test_the_embedding_may_be_saved_as_the_output_alone(self):
        tensors = official_tensors("pi05")
        embedding = TIED.replace("lm_head", "model.language_model.embed_tokens")
        del tensors[embedding]
        torch.testing.assert_close(from_public(tensors)["embed.weight"], tensors[TIED])

    def test_an_output_that_is_not_tied_is_refused(self):
        tensors = official_tensors("pi05")
        tensors[TIED] = tensors[TIED] + 1
        with pytest.raises(WeightsError, match=r"lm_head\.weight differs"):
            from_public(tensors)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"time_mlp_in.weight": None}, r"missing: time_in\.weight"),
            ({"extra.weight": torch.zeros(1)}, r"unexpected: extra\.weight"),
            ({"time_mlp_in.bias": torch.zeros(3)}, r"another shape: time_in\.bias \(3,\)"),
        ],
    )
    def test_every_tensor_is_accounted_for(self, change, message):
        tensors = {**official_tensors("pi05"), **change}
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        network = FlowNetwork(config_of("pi05"), SIZES["image_size"])
        with pytest.raises(WeightsError, match=message):
            load_exactly(network, from_public(tensors), where="official")
