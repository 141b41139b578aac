"""Exports of every family: they load anywhere, act as their source, and say what they are."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from fakes.small_policies import CASES, contract_of, make, normalisation_of, token_config
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_compact
from rlco_trainer import cli
from rlco_trainer.checkpoint import CheckpointError, Lineage, load_policy, save_policy
from rlco_trainer.export import (
    ExportRecord,
    actions_of,
    export,
    fixed_inputs,
    verify,
    without_adapters,
)
from rlco_trainer.policies.openvla.config import LoraConfig
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.training_state import TrainingState, prefixed, save_state
from safetensors.torch import load_file, save_file

LINEAGE = Lineage(
    stage="stage2",
    stores=("real:pick.zarr (20 episodes)",),
    twin_id="feedfeedfeedfeed",
    software_version="0.1.0",
    task="pick_and_place",
    step=40,
)


def adapted(precision="float32"):
    """An openvla policy whose adapters do something."""
    config = token_config(CASES["openvla"], lora=LoraConfig(rank=4), precision=precision)
    contract = contract_of()
    torch.manual_seed(0)
    policy = OpenVlaPolicy(contract, normalisation_of(contract), config).eval()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return policy


@pytest.fixture
def checkpoint(tmp_path):
    def of(policy):
        save_policy(tmp_path / "run" / "checkpoint", policy, LINEAGE, {"validation_success": 0.9})
        return tmp_path / "run"

    return of


@pytest.mark.parametrize("case", ["compact", "pi05-noise-chunk", "pi0-noise-chunk", "openvla"])
def test_every_family_comes_back_with_the_same_actions(case, checkpoint, tmp_path):
    policy = make(case)
    out = tmp_path / "out"
    identity = export(checkpoint(policy), out)
    loaded = load_policy(out)
    assert loaded.checkpoint_id == identity
    assert loaded.card.lineage == LINEAGE
    assert loaded.card.metrics == {"validation_success": 0.9}
    inputs = fixed_inputs(policy.contract)
    np.testing.assert_allclose(
        actions_of(loaded.policy, inputs), actions_of(policy, inputs), atol=1e-6
    )
    found = verify(out)
    assert found.passed
    assert found.largest < 1e-4
    assert spec.load(Contract, out / "contract.yaml") == policy.contract


def test_adapters_are_added_to_the_weights(checkpoint, tmp_path):
    policy = adapted()
    plain, count = without_adapters(policy)
    assert count > 10
    assert not any("lora" in name or "base_layer" in name for name in plain.state_dict())
    inputs = fixed_inputs(policy.contract)
    bare = OpenVlaPolicy(
        policy.contract, policy.normalisation, replace(policy.config, lora=LoraConfig())
    )
    own = {k.replace(".base_layer.", "."): v for k, v in policy.state_dict().items()}
    bare.load_state_dict({k: v for k, v in own.items() if "lora_" not in k})
    assert np.abs(actions_of(bare, inputs) - actions_of(policy, inputs)).max() > 1e-3
    tokens = torch.randint(0, 800, (2, 28), generator=torch.Generator().manual_seed(0))
    patches = torch.randn(2, 16, 48)
    prompt = torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.bool)
    with torch.no_grad():
        logits = [p.network.logits(patches, *prompt, tokens) for p in (policy, plain)]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
    source = checkpoint(policy)
    export(source, tmp_path / "merged")
    assert verify(tmp_path / "merged").passed
    assert load_policy(tmp_path / "merged").card.architecture["lora"]["rank"] == 0
    export(source, tmp_path / "kept", merge=False)
    assert load_policy(tmp_path / "kept").card.architecture["lora"]["rank"] == 4
    assert verify(tmp_path / "kept").largest < 1e-4


def test_adapters_on_bfloat16_weights_merge_in_float32():
    plain, count = without_adapters(adapted("bfloat16"))
    assert count > 10
    assert {p.dtype for p in plain.parameters()} == {torch.float32}


def test_bf16_halves_the_file_and_keeps_units(checkpoint, tmp_path):
    source = checkpoint(make("compact"))
    sizes = {}
    for stored in ("fp32", "bf16"):
        export(source, tmp_path / stored, stored=stored)
        sizes[stored] = (tmp_path / stored / "model.safetensors").stat().st_size
    assert sizes["bf16"] < 0.55 * sizes["fp32"]
    found = verify(tmp_path / "bf16")
    assert found.passed
    assert 0 < found.typical < 0.1
    buffers = dict(make("compact").named_buffers())
    kept = load_file(tmp_path / "bf16" / "model.safetensors")
    assert all(kept[name].dtype == value.dtype for name, value in buffers.items() if name in kept)


def test_the_chosen_weights_are_exported(checkpoint, tmp_path):
    policy = make("compact")
    run = checkpoint(policy)
    other = {k: v + 0.5 if v.is_floating_point() else v for k, v in policy.state_dict().items()}
    save_state(
        run / "state",
        TrainingState(
            tensors={**prefixed("policy", policy.state_dict()), **prefixed("average", other)},
            values={},
        ),
    )
    export(run, tmp_path / "averaged", weights="averaged")
    export(run, tmp_path / "raw", weights="raw")
    final = export(run, tmp_path / "final")
    name = next(name for name, _ in policy.named_parameters())
    averaged = load_file(tmp_path / "averaged" / "model.safetensors")
    torch.testing.assert_close(averaged[name], other[name])
    assert load_policy(tmp_path / "raw").checkpoint_id == final
    assert spec.load(ExportRecord, tmp_path / "averaged" / "export.yaml").weights == "averaged"
    with pytest.raises(CheckpointError, match="best"):
        export(run, tmp_path / "best", weights="best")
    with pytest.raises(CheckpointError, match="those of a run"):
        export(run / "checkpoint", tmp_path / "x", weights="averaged")


def test_a_run_without_an_average_says_so(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="ema-decay"):
        export(checkpoint(make("compact")), tmp_path / "out", weights="averaged")


def test_changed_weights_are_found_out(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    export(checkpoint(make("compact")), out)
    cli.main(["export", "--out", str(out), "--verify"])
    assert "the same actions" in capsys.readouterr().out
    tensors = load_file(out / "model.safetensors")
    save_file(
        {k: v * 1.5 if v.is_floating_point() else v for k, v in tensors.items()},
        out / "model.safetensors",
    )
    with pytest.raises(SystemExit) as raised:
        cli.main(["export", "--out", str(out), "--verify"])
    assert raised.value.code == 2
    assert "OTHER ACTIONS" in capsys.readouterr().err


def test_the_readme_says_what_it_is_and_its_hashes_hold(checkpoint, tmp_path):
    out = tmp_path / "out"
    identity = export(checkpoint(make("openvla")), out)
    text = (out / "README.md").read_text(encoding="utf-8")
    card = yaml.safe_load((out / "checkpoint.yaml").read_text())
    for word in (
        *(identity, "openvla", "feedfeedfeedfeed", "real:pick.zarr (20 episodes)"),
        *(contract_of().id, "validation success | 0.9", "rlco-serve --checkpoint policy=."),
    ):
        assert word in text, word
    assert card["architecture"]["tokenizer"] == "words"
    for name in ("checkpoint.yaml", "model.safetensors"):
        assert f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}" in text


def test_only_an_export_is_replaced(checkpoint, tmp_path):
    run = checkpoint(make("compact"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(CheckpointError, match="is no export"):
        export(run, tmp_path / "mine")
    export(run, tmp_path / "out")
    export(run, tmp_path / "out", stored="bf16")
    assert spec.load(ExportRecord, tmp_path / "out" / "export.yaml").stored == "bf16"
    with pytest.raises(CheckpointError, match="it is no export"):
        verify(run / "checkpoint")


def test_a_pretrained_tokenizer_comes_along(tmp_path, checkpoint):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[UNK]", "<s>", "pick", "task", "do", "0", "1"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    given = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="[UNK]")
    given.save_pretrained(str(tmp_path / "given"))
    config = token_config(CASES["openvla"], tokenizer=str(tmp_path / "given"))
    contract = contract_of()
    policy = OpenVlaPolicy(contract, normalisation_of(contract), config).eval()
    export(checkpoint(policy), tmp_path / "out")
    (tmp_path / "given").rename(tmp_path / "gone")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere").largest < 1e-4
    card = yaml.safe_load((tmp_path / "elsewhere" / "checkpoint.yaml").read_text())
    assert card["architecture"]["tokenizer"] == "tokenizer"


def test_fixed_inputs_are_fixed():
    first, again = fixed_inputs(franka_compact()), fixed_inputs(franka_compact())
    np.testing.assert_array_equal(first["state"], again["state"])
    image = first["images"]["third_person"]
    np.testing.assert_array_equal(image, again["images"]["third_person"])
    assert image.dtype == np.uint8
    assert image.std() > 20
