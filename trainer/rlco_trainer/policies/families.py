"""The policy families by name; the large ones are imported when they are asked for."""

from __future__ import annotations

from typing import Any

from rlco_datasets import spec
from rlco_datasets.contract import Contract
from rlco_datasets.statistics import Normalisation
from torch import nn

from rlco_trainer.policies.compact import CompactConfig, CompactPolicy
from rlco_trainer.policies.interface import Policy

FAMILIES = ("compact", "openvla", "pi05")


class FamilyError(ValueError):
    """A family is unknown, or its libraries are not installed."""


def build_policy(
    family: str, contract: Contract, normalisation: Normalisation, architecture: dict[str, Any]
) -> Policy:
    """Return an untrained policy of a family.

    Raises:
        FamilyError: if the family is unknown or its libraries are missing.
        SpecError: if `architecture` is not that family's configuration.
        ValueError: if architecture, contract and normalisation do not fit together.
    """
    where = f"{family} architecture"
    _require(family)
    if family == "pi05":
        from rlco_trainer.policies.pi05.config import Pi05Config
        from rlco_trainer.policies.pi05.policy import Pi05Policy

        flow = spec.from_plain(Pi05Config, architecture, where=where)
        return Pi05Policy(contract, normalisation, flow)
    if family == "openvla":
        from rlco_trainer.policies.openvla.config import OpenVlaConfig
        from rlco_trainer.policies.openvla.policy import OpenVlaPolicy

        vla = spec.from_plain(OpenVlaConfig, architecture, where=where)
        return OpenVlaPolicy(contract, normalisation, vla)
    config = spec.from_plain(CompactConfig, architecture, where=where)
    return CompactPolicy(contract, normalisation, config)


def build_network(
    family: str, architecture: dict[str, Any], image_size: int, state_dim: int = 0
) -> nn.Module:
    """Return the network alone of a large family, as `public_weights` loads and `memory` counts.

    Raises:
        FamilyError: if the family has no public network, or its libraries are missing.
    """
    where = f"{family} architecture"
    _require(family)
    if family == "pi05":
        from rlco_trainer.policies.pi05.config import Pi05Config
        from rlco_trainer.policies.pi05.network import FlowNetwork

        return FlowNetwork(
            spec.from_plain(Pi05Config, architecture, where=where), image_size, state_dim
        )
    if family == "openvla":
        from rlco_trainer.policies.openvla.config import OpenVlaConfig
        from rlco_trainer.policies.openvla.network import VlaNetwork

        return VlaNetwork(
            spec.from_plain(OpenVlaConfig, architecture, where=where), image_size, state_dim
        )
    raise FamilyError(f"policy family {family!r} has no public network")


def _require(family: str) -> None:
    if family not in FAMILIES:
        raise FamilyError(
            f"policy family {family!r} is unknown; this software has {list(FAMILIES)}. "
            "Use a newer rlco, or a checkpoint of one of these."
        )
    if family != CompactPolicy.family:
        try:
            import transformers  # noqa: F401
        except ImportError as error:
            raise FamilyError(
                f"policy family {family!r} needs transformers ({error}); install the trainer with "
                "its extra: pip install 'rlco-trainer[vla]'"
            ) from error
