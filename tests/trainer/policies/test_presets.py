"""Presets: what `rlco-train init` writes, what it takes, and what it says of memory."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from fakes.small_policies import (
    CASES,
    contract_of,
    flow_config,
    normalisation_of,
    observe,
    token_config,
)
from rlco_datasets import spec
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.cli import main
from rlco_trainer.policies.memory import estimate
from rlco_trainer.policies.openvla.config import LoraConfig
from rlco_trainer.policies.openvla.policy import OpenVlaPolicy
from rlco_trainer.policies.pi05.config import Pi05Config
from rlco_trainer.policies.pi05.policy import Pi05Policy
from rlco_trainer.policies.presets import PRESETS, load_public, new_policy
from rlco_trainer.policies.public_weights import WeightsError, read_tensors
from rlco_trainer.untrained import nominal_normalisation
from safetensors.torch import save_file

TINY = [name for name in PRESETS if name.endswith("tiny") or name == "compact"]


@pytest.mark.parametrize("name", TINY)
def test_init_writes_a_checkpoint_that_acts(name, tmp_path, capsys):
    main(["init", "--preset", name, "--out", str(tmp_path / "checkpoint")])
    loaded = load_policy(tmp_path / "checkpoint", franka_compact())
    assert loaded.card.lineage.stage == "init"
    assert loaded.checkpoint_id in capsys.readouterr().out
    chunk = loaded.policy.best_actions(loaded.policy.encode(observe(2)))
    assert chunk.shape == (2, 4, 7)
    assert sum(p.numel() for p in loaded.policy.parameters()) < 5_000_000


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_plain_data(name):
    preset = PRESETS[name]
    plain = preset.architecture()
    assert spec.from_plain(type(preset.build()), plain, where=name) == preset.build()


def test_a_tokenizer_that_cannot_be_had_is_one_clean_line(tmp_path, capsys):
    args = ["--contract", "franka_third_person", "--out", str(tmp_path / "big")]
    args += ["--tokenizer", str(tmp_path / "nowhere")]
    with pytest.raises(SystemExit):
        main(["init", "--preset", "pi05-3b", *args])
    assert "folder of a downloaded tokenizer" in capsys.readouterr().err


def test_compact_has_no_tokenizer():
    contract = franka_compact()
    with pytest.raises(spec.SpecError, match="has no tokenizer"):
        new_policy("compact", contract, nominal_normalisation(contract), tokenizer="words")


@cache
def memory_of(name: str, batch: int, **options):
    preset = PRESETS[name]
    contract = franka_compact() if "tiny" in name else franka_third_person()
    return estimate(preset.family, preset.architecture(), contract, batch, **options)


class TestMemory:
    def test_counts_the_published_sizes(self):
        assert memory_of("pi05-3b", 32).parameters == pytest.approx(3.35e9, rel=0.01)
        assert memory_of("openvla-7b", 16).parameters == pytest.approx(7.5e9, rel=0.02)

    @pytest.mark.parametrize(
        ("name", "batch", "fits_gb"),
        [
            ("pi05-3b", 32, 80),
            ("pi05-3b-24gb", 16, 24),
            ("openvla-7b", 16, 80),
            ("openvla-7b-24gb", 8, 24),
        ],
    )
    def test_each_variant_fits_its_card(self, name, batch, fits_gb):
        assert memory_of(name, batch).total_gb < 0.95 * fits_gb

    @pytest.mark.parametrize(
        ("name", "batch", "fits_gb"), [("pi05-3b", 8, 48), ("pi05-3b", 64, 80)]
    )
    def test_moments_of_8_bits_make_room(self, name, batch, fits_gb):
        small, large = memory_of(name, batch, moments="8bit"), memory_of(name, batch)
        assert small.total_gb < 0.95 * fits_gb < large.total_gb
        assert small.optimizer_gb < 0.26 * large.optimizer_gb
        assert small.weights_gb == large.weights_gb

    def test_moments_in_the_hosts_memory_are_counted_there(self):
        moved, kept = memory_of("pi05-3b", 8, moments="cpu"), memory_of("pi05-3b", 8)
        assert (moved.optimizer_gb, kept.host_gb) == (0, 0)
        assert moved.host_gb == kept.optimizer_gb
        assert moved.total_gb < memory_of("pi05-3b", 8, moments="8bit").total_gb
        assert f"and {moved.host_gb:.1f} GB of the host's memory" in str(moved)
        assert "host" not in str(kept)

    @pytest.mark.parametrize("name", ["pi05-tiny", "openvla-tiny"])
    def test_stage_two_counts_what_it_trains(self, name):
        contract = franka_compact()
        policy = new_policy(name, contract, nominal_normalisation(contract))
        policy.freeze_trunk()
        trained = sum(p.numel() for p in policy.network.parameters() if p.requires_grad)
        frozen, whole = memory_of(name, 4, train_trunk=False), memory_of(name, 4)
        assert frozen.trained == trained < whole.trained
        assert frozen.activations_gb < whole.activations_gb

    def test_a_stage_says_it_before_it_starts(self, tmp_path, capsys):
        checkpoint = str(tmp_path / "tiny")
        main(["init", "--preset", "pi05-tiny", "--out", checkpoint])
        options = ["--init", checkpoint, "--moments", "8bit", "--out", str(tmp_path / "run")]
        told = {}
        for stage in (
            ["stage1", "--real", str(tmp_path / "none"), "--alpha", "0", "--batch", "5"],
            ["stage2", "--twin", str(tmp_path / "none.yaml"), "--real", str(tmp_path / "none")],
        ):
            capsys.readouterr()
            with pytest.raises(SystemExit):
                main([*stage, *options])
            told[stage[0]] = capsys.readouterr().out
        eight = {"moments": "8bit"}
        assert str(memory_of("pi05-tiny", 5, **eight)) in told["stage1"]
        stage2 = memory_of("pi05-tiny", 320 + 128, **eight, train_trunk=False)
        assert str(stage2) in told["stage2"]

    def test_grows_with_the_batch_and_says_so(self):
        one, many = memory_of("openvla-tiny", 1), memory_of("openvla-tiny", 16)
        assert many.activations_gb == pytest.approx(16 * one.activations_gb)
        assert f"about {many.total_gb:.1f} GB" in str(many)

    def test_the_count_is_that_of_the_policy(self):
        contract = franka_compact()
        for name in ("pi05-tiny", "openvla-tiny"):
            preset = PRESETS[name]
            policy = new_policy(name, contract, nominal_normalisation(contract))
            counted = estimate(preset.family, preset.architecture(), contract, 1).parameters
            assert counted == sum(p.numel() for p in policy.network.parameters())


class TestPublicWeights:
    def policy(self) -> Pi05Policy:
        contract = contract_of()
        torch.manual_seed(1)
        config = flow_config(CASES["pi05-noise-chunk"])
        return Pi05Policy(contract, normalisation_of(contract), config)

    def test_shards_in_a_folder_become_one_checkpoint(self, tmp_path):
        from rlco_trainer.policies.pi05.weights import OPENPI

        policy = self.policy()
        public = {}
        for name, tensor in policy.network.state_dict().items():
            theirs = next(p for p, ours in OPENPI.items() if name.startswith(ours))
            public[theirs + name[len(OPENPI[theirs]) :]] = tensor + 0.125
        names = sorted(public)
        for i, part in enumerate((names[::2], names[1::2])):
            save_file({n: public[n].contiguous() for n in part}, tmp_path / f"{i}.safetensors")
        before = policy.network.action_in.weight.clone()
        load_public(policy, tmp_path)
        torch.testing.assert_close(policy.network.action_in.weight, before + 0.125)

    def test_an_empty_folder_and_a_damaged_file_are_named(self, tmp_path):
        with pytest.raises(WeightsError, match="no safetensors file"):
            read_tensors(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"broken")
        with pytest.raises(WeightsError, match="cannot be read"):
            read_tensors(tmp_path)

    def test_compact_has_no_public_checkpoint(self, tmp_path):
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
        contract = franka_compact()
        policy = new_policy("compact", contract, nominal_normalisation(contract))
        with pytest.raises(WeightsError, match="has no public"):
            load_public(policy, tmp_path)


class TestHalfPrecision:
    """The number formats of the presets for GPUs, on their code path."""

    def check(self, policy) -> None:
        features = policy.train().encode(observe())
        mask = torch.ones(6, 4, dtype=torch.bool)
        policy.sft_loss(features, torch.zeros(6, 4, 7), mask)["loss"].backward()
        trained = [p for p in policy.parameters() if p.requires_grad]
        assert trained
        assert {p.dtype for p in trained} == {torch.float32}
        assert torch.bfloat16 in {p.dtype for p in policy.parameters()}
        policy.eval().freeze_trunk()
        features = {k: torch.from_numpy(v.numpy()) for k, v in policy.encode(observe()).items()}
        decision = policy.act(features, torch.Generator().manual_seed(0))
        assert torch.equal(policy.evaluate_actions(features, decision.latent)[0], decision.log_prob)
        assert decision.actions.dtype == torch.float32

    def test_pi05_with_a_bfloat16_trunk(self):
        contract = contract_of()
        config = flow_config(CASES["pi05-noise-chunk"], precision="bfloat16", trained="expert")
        self.check(Pi05Policy(contract, normalisation_of(contract), config))

    def test_openvla_with_adapters_on_bfloat16(self):
        contract = contract_of()
        config = token_config(
            CASES["openvla"], precision="bfloat16", lora=LoraConfig(rank=2), checkpointing=True
        )
        self.check(OpenVlaPolicy(contract, normalisation_of(contract), config))

    def test_bfloat16_weights_are_never_trained(self):
        with pytest.raises(ValueError, match="set trained to expert"):
            Pi05Config(precision="bfloat16")
        with pytest.raises(ValueError, match="needs adapters"):
            replace(token_config(CASES["openvla"]), precision="bfloat16")

    @pytest.mark.parametrize("family", ["pi05", "openvla"])
    def test_mixed_precision_of_the_stages(self, family):
        contract = contract_of()
        policy = (
            Pi05Policy(contract, normalisation_of(contract), flow_config(CASES["pi05-sde"]))
            if family == "pi05"
            else OpenVlaPolicy(contract, normalisation_of(contract), token_config(CASES["openvla"]))
        )
        features, mask = policy.encode(observe()), torch.ones(6, 4, dtype=torch.bool)
        torch.manual_seed(0)
        exact = policy.sft_loss(features, torch.zeros(6, 4, 7), mask)["loss"]
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = policy.sft_loss(features, torch.zeros(6, 4, 7), mask)["loss"]
        assert float(mixed) == pytest.approx(float(exact), rel=0.03)
