"""The policies of one server: what the server needs of a policy, and choosing one by alias."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract

from rlco_policy_server.errors import RequestError
from rlco_policy_server.wire.metadata import PolicyMetadata, describe_actions, describe_state

DEFAULT_ALIAS = "default"
ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_BATCH = 16


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


@runtime_checkable
class RealTimePolicy(Policy, Protocol):
    """A policy that continues what is being executed: real-time chunking (arXiv 2506.07339)."""

    def infer_rtc(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: NDArray[np.float32],
        instructions: list[str],
        *,
        previous: NDArray[np.float32],
        delay_steps: int,
    ) -> NDArray[np.float32]:
        """Return `(B, horizon, 7)` chunks that agree with the actions under way.

        `previous` `(B, P, 7)`: what is executed from the capture on as long as no answer comes. Of
        these, the first `delay_steps` will be over when the answer is there.
        """


@dataclass(frozen=True, kw_only=True)
class ServedPolicy:
    """A loaded policy under an alias; `policy_id` is its checkpoint's id."""

    alias: str
    policy: Policy
    policy_id: str
    normalisation_id: str | None = None
    reference: str = ""
    """What the operator asked for: a folder, or name@hash."""
    device: str = "cpu"
    """Policies of one device share one inference thread."""
    max_batch: int = MAX_BATCH
    """How many sessions are answered by one call."""

    def __post_init__(self) -> None:
        """Check the alias and the batch size."""
        if not ALIAS.fullmatch(self.alias):
            raise ValueError(
                f"alias {self.alias!r} must be 1 to 64 letters, digits, '_' or '-'; rename it"
            )
        if self.max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {self.max_batch}")


class PolicySet:
    """The policies of one server, by alias; may change while requests are answered."""

    def __init__(self, policies: list[ServedPolicy], *, blind: bool = False) -> None:
        """Serve `policies`; `blind` hides which checkpoint an alias stands for.

        Raises:
            ValueError: if there are none, or two share an alias.
        """
        self._by_alias = {served.alias: served for served in policies}
        self._lock = threading.Lock()
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
        aliases = self.aliases
        if len(aliases) == 1:
            return aliases[0]
        return DEFAULT_ALIAS if DEFAULT_ALIAS in aliases else None

    def put(self, served: ServedPolicy) -> ServedPolicy | None:
        """Serve `served` from now on; return what its alias stood for before."""
        with self._lock:  # a new dict each time, so that readers need no lock
            before = self._by_alias.get(served.alias)
            self._by_alias = {**self._by_alias, served.alias: served}
        return before

    def remove(self, alias: str) -> ServedPolicy:
        """Serve no new requests of `alias`; return what it stood for.

        Raises:
            RequestError: 404 if it is not served, 409 if it is the last one.
        """
        with self._lock:
            served = self.select(alias)
            if len(self._by_alias) == 1:
                raise RequestError(
                    409,
                    "last_policy",
                    f"{alias!r} is the only policy of this server.",
                    "Load its successor first, or stop the server.",
                )
            self._by_alias = {a: s for a, s in self._by_alias.items() if a != alias}
        return served

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
                action=describe_actions(served.policy.contract),
                state=describe_state(served.policy.contract),
                real_time_chunking=(
                    None if self.blind else isinstance(served.policy, RealTimePolicy)
                ),
            )
            for served in self
        )
