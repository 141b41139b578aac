"""What the server says about itself: the JSON of `GET /v1/metadata`, shared with the client."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlco_datasets.contract import STATE_FIELDS, Contract

PROTOCOL = "rlco/v1"


@dataclass(frozen=True, kw_only=True)
class PolicyMetadata:
    """One served policy.

    In blind mode `policy_id` is the alias, and `normalisation_id` and `real_time_chunking` (whether
    requests may carry a `prefix`) are absent, so that nothing tells which checkpoint hides behind
    an alias.
    """

    alias: str
    policy_id: str
    contract_id: str
    contract: Contract
    horizon: int
    executed_steps: int
    control_rate_hz: float
    normalisation_id: str | None = None
    real_time_chunking: bool | None = None
    action: dict[str, str] = field(default_factory=dict)
    """What the numbers of an action are, in words: units, frame, reference, sign."""
    state: dict[str, str] = field(default_factory=dict)
    """The same for the state."""


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


def describe_actions(contract: Contract) -> dict[str, str]:
    """Return what the numbers of an action are, in words: units, frame, reference, signs, rate."""
    return {
        "0:3": f"translation, m, {contract.action_frame} frame, added to the {REFERENCE}",
        "3:6": f"rotation vector, rad, {contract.action_frame} frame, composed on the left of it",
        "6": "gripper opening, absolute, 1 = open, 0 = closed",
        "action_frame": contract.action_frame,
        "delta_reference": contract.delta_reference,
        "rotation": contract.rotation,
        "gripper": contract.gripper,
        "rate": f"{contract.control_rate_hz} Hz; execute {contract.executed_steps} of "
        f"{contract.horizon}, then ask again",
    }


REFERENCE = "target of the action before (at the start, to the measured pose)"


def describe_state(contract: Contract) -> dict[str, str]:
    """Return what the numbers of a state are, in words."""
    words = {
        "tcp_position": "TCP position, m, base frame",
        "tcp_rotation_6d": "first two columns of the TCP's rotation matrix, base frame",
        "gripper_width": "distance between the fingers, m",
    }
    described, at = {}, 0
    for name in contract.state_layout:
        described[f"{at}:{at + STATE_FIELDS[name]}"] = words[name]
        at += STATE_FIELDS[name]
    return described
