"""What the server says about itself: the JSON of `GET /v1/metadata`, shared with the client."""

from __future__ import annotations

from dataclasses import dataclass

from rlco_datasets.contract import Contract

PROTOCOL = "rlco/v1"


@dataclass(frozen=True, kw_only=True)
class PolicyMetadata:
    """One served policy.

    In blind mode `policy_id` is the alias and `normalisation_id` is absent, so that nothing tells
    which checkpoint hides behind an alias.
    """

    alias: str
    policy_id: str
    contract_id: str
    contract: Contract
    horizon: int
    executed_steps: int
    control_rate_hz: float
    normalisation_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServerMetadata:
    """What a server serves; `default_policy` answers requests that name no policy."""

    policies: tuple[PolicyMetadata, ...]
    default_policy: str | None
    blind: bool
    software_version: str
    protocol: str = PROTOCOL

    def policy(self, alias: str | None) -> PolicyMetadata | None:
        """Return the policy called `alias` (None: the default one), or None if not served."""
        wanted = self.default_policy if alias is None else alias
        return next((policy for policy in self.policies if policy.alias == wanted), None)
