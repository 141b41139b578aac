"""The policy that stage I starts from: a new `compact` one, or any family's checkpoint."""

from __future__ import annotations

from rlco_datasets.contract import Contract
from rlco_datasets.statistics import Normalisation

from rlco_trainer.checkpoint import load_policy
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.interface import Policy
from rlco_trainer.policies.presets import new_policy


def starting_policy(
    init: str, contract: Contract, normalisation: Normalisation
) -> tuple[Policy, str]:
    """Return a policy in training mode and the id of the checkpoint it came from.

    A checkpoint of `rlco-train init` has seen no data of ours and takes `normalisation`. One that
    was trained keeps its own, which its weights were learnt under.

    Args:
        init: a checkpoint folder; "" makes a new `compact` policy, with id "".
        contract: what the demonstrations speak.
        normalisation: statistics of the demonstrations.

    Raises:
        CheckpointError: if the checkpoint cannot be used.
        ContractMismatchError: if it speaks another contract than the demonstrations.
    """
    if not init:
        return new_policy("compact", contract, normalisation), ""
    loaded = load_policy(init, contract)
    if loaded.card.lineage.stage != "init":
        return loaded.policy.train(), loaded.checkpoint_id
    card = loaded.card
    policy = build_policy(card.family, contract, normalisation, card.architecture)
    policy.load_state_dict(loaded.policy.state_dict())
    return policy.train(), loaded.checkpoint_id
