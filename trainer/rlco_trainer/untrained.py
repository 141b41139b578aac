"""Randomly initialised checkpoints: for smoke and load tests of whatever reads a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from rlco_datasets import spec
from rlco_datasets.contract import ACTION_DIM, BUILT_IN, Contract, load_contract
from rlco_datasets.statistics import Normalisation

from rlco_trainer import __version__
from rlco_trainer.checkpoint import Lineage, load_policy, save_policy
from rlco_trainer.policies.presets import load_public, new_policy
from rlco_trainer.stem_regression import required_stem


def contract_named(name: str) -> Contract:
    """Return the built-in contract called `name`, or read the YAML file at that path.

    Raises:
        SpecError: if `name` is neither.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if not Path(name).is_file():
        raise spec.SpecError(
            f"contract {name!r} is neither built in ({sorted(BUILT_IN)}) nor a YAML file"
        )
    return load_contract(name)


def nominal_normalisation(contract: Contract) -> Normalisation:
    """Return the normalisation of a policy that has seen no data: the contract's own scales."""
    action_scale = (
        (contract.max_translation_m / 2,) * 3 + (contract.max_rotation_rad / 2,) * 3 + (0.5,)
    )
    action_mean = (0.0,) * (ACTION_DIM - 1) + (0.5,)
    low = tuple(m - 2 * s for m, s in zip(action_mean, action_scale, strict=True))
    high = tuple(m + 2 * s for m, s in zip(action_mean, action_scale, strict=True))
    zeros, ones = (0.0,) * contract.state_dim, (1.0,) * contract.state_dim
    return Normalisation(
        count=1,
        contract_id=contract.id,
        state_mean=zeros,
        state_std=ones,
        state_min=zeros,
        state_max=ones,
        state_q01=zeros,
        state_q99=ones,
        action_mean=action_mean,
        action_std=action_scale,
        action_min=low,
        action_max=high,
        action_q01=low,
        action_q99=high,
    )


def write_untrained(
    preset: str,
    contract: Contract,
    out: Path,
    seed: int,
    *,
    tokenizer: str = "",
    public_weights: Path | None = None,
    stem: Path | None = None,
) -> str:
    """Write a checkpoint that has seen no data of ours and return its id.

    Args:
        preset: a name in `presets.PRESETS`.
        contract: what it is to speak.
        out: folder of the checkpoint.
        seed: of the random weights.
        tokenizer: replaces the preset's tokenizer: a folder or hub id.
        public_weights: a public checkpoint's safetensors, file or folder.
        stem: a checkpoint whose stem to start from.

    Raises:
        CheckpointError, DataError: if `stem` is no checkpoint, or one of the two has no stem.
        SpecError: if the preset is unknown or does not fit the contract.
        WeightsError: if the public weights do not fit the preset.
    """
    torch.manual_seed(seed)
    policy = new_policy(preset, contract, nominal_normalisation(contract), tokenizer=tokenizer)
    if public_weights is not None:
        load_public(policy, public_weights)
    parent = ""
    if stem is not None:
        source = load_policy(stem, contract)
        required_stem(policy).load_state_dict(required_stem(source.policy).state_dict())
        parent = source.checkpoint_id
    lineage = Lineage(stage="init", software_version=__version__, parent_checkpoint=parent)
    return save_policy(out, policy, lineage)
