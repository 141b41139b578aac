"""The policies of one server: what the server needs of a policy, and choosing one by alias."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract

from rlco_policy_server.errors import RequestError
from rlco_policy_server.wire.metadata import PolicyMetadata

DEFAULT_ALIAS = "default"
ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Policy(Protocol):
    """What the server asks of a policy; `rlco_trainer`'s policies have it."""

    @property
    def contract(self) -> Contract:
        """What its observations and actions mean."""

    def infer(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
    ) -> NDArray[np.float32]:
        """Return `(B, horizon, 7)` actions for policy images `(B, H, W, 3)` and states `(B, S)`."""


@dataclass(frozen=True, kw_only=True)
class ServedPolicy:
    """A loaded policy under an alias; `policy_id` is its checkpoint's id."""

    alias: str
    policy: Policy
    policy_id: str
    normalisation_id: str | None = None

    def __post_init__(self) -> None:
        """Check the alias."""
        if not ALIAS.fullmatch(self.alias):
            raise ValueError(
                f"alias {self.alias!r} must be 1 to 64 letters, digits, '_' or '-'; rename it"
            )


class PolicySet:
    """The policies of one server, by alias."""

    def __init__(self, policies: list[ServedPolicy], *, blind: bool = False) -> None:
        """Serve `policies`; `blind` hides which checkpoint an alias stands for.

        Raises:
            ValueError: if there are none, or two share an alias.
        """
        self._by_alias = {served.alias: served for served in policies}
        if not policies or len(self._by_alias) != len(policies):
            aliases = [served.alias for served in policies]
            raise ValueError(f"a server needs policies with distinct aliases, got {aliases}")
        self.blind = blind

    def __iter__(self) -> Iterator[ServedPolicy]:
        """Iterate over the policies, in the order given."""
        return iter(self._by_alias.values())

    @property
    def aliases(self) -> list[str]:
        """The aliases, in the order given."""
        return list(self._by_alias)

    @property
    def default(self) -> str | None:
        """The alias that answers when none is named: the only one, or `default`."""
        if len(self._by_alias) == 1:
            return self.aliases[0]
        return DEFAULT_ALIAS if DEFAULT_ALIAS in self._by_alias else None

    def select(self, alias: str | None) -> ServedPolicy:
        """Return the policy called `alias`, or the default one for None.

        Raises:
            RequestError: 404, naming the aliases that are served.
        """
        served = self._by_alias.get(self.default or "" if alias is None else alias)
        if served is not None:
            return served
        wanted = "no policy was named" if alias is None else f"policy {alias!r} is not served here"
        raise RequestError(
            404,
            "unknown_policy",
            f"{wanted}; this server has {self.aliases}.",
            "Send 'policy' with one of these aliases, or restart rlco-serve with "
            "--checkpoint ALIAS=DIR.",
        )

    def public_id(self, served: ServedPolicy) -> str:
        """Return the id that clients may see: the checkpoint's, or the alias in blind mode."""
        return served.alias if self.blind else served.policy_id

    def metadata(self) -> tuple[PolicyMetadata, ...]:
        """Return what clients may know about each policy."""
        return tuple(
            PolicyMetadata(
                alias=served.alias,
                policy_id=self.public_id(served),
                contract_id=served.policy.contract.id,
                contract=served.policy.contract,
                horizon=served.policy.contract.horizon,
                executed_steps=served.policy.contract.executed_steps,
                control_rate_hz=served.policy.contract.control_rate_hz,
                normalisation_id=None if self.blind else served.normalisation_id,
            )
            for served in self
        )
