"""What the endpoints may be told when the server starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rlco_policy_server.keymaps import KeyMap, load_keymap
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES

DEFAULT_KEYMAPS = {
    "openpi": "rlco",
    "roboarena": "roboarena",
    "openvla": "openvla",
    "oft": "oft",
}
"""Endpoint -> the built-in key map it uses unless told otherwise."""


class SettingsError(ValueError):
    """The endpoints cannot be what the command line asks for."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Limits and choices of the protocols."""

    max_body_bytes: int = MAX_MESSAGE_BYTES
    """The largest request body or websocket message."""
    keymaps: Mapping[str, KeyMap] = field(default_factory=dict)
    """Endpoint -> key map, where it is not the default."""
    root: Literal["openpi", "roboarena"] = "openpi"
    """Which of the two websocket protocols answers at `/`, the one path their clients know."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.max_body_bytes < 1:
            raise ValueError(f"max_body_bytes must be at least 1, got {self.max_body_bytes}")
        unknown = set(self.keymaps) - set(DEFAULT_KEYMAPS)
        if unknown:
            raise SettingsError(
                f"no endpoint {sorted(unknown)} has a key map; these have: {list(DEFAULT_KEYMAPS)}"
            )

    def keymap(self, endpoint: str) -> KeyMap:
        """Return the key map of an endpoint."""
        return self.keymaps.get(endpoint) or load_keymap(DEFAULT_KEYMAPS[endpoint])


def parse_keymaps(values: tuple[str, ...]) -> dict[str, KeyMap]:
    """Return `{endpoint: key map}` of `ENDPOINT=NAME` or `ENDPOINT=FILE.yaml` values.

    Raises:
        SettingsError: if a value is not of that form.
        SpecError: if there is no such map, or it is malformed.
    """
    keymaps: dict[str, KeyMap] = {}
    for value in values:
        endpoint, equals, name = value.partition("=")
        if not equals or not name:
            raise SettingsError(f"--keymap {value}: write ENDPOINT=NAME, as in openpi=libero")
        keymaps[endpoint] = load_keymap(name)
    return keymaps
