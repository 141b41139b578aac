"""What the endpoints may be told when the server starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rlco_datasets.spec import SpecError

from rlco_policy_server.keymaps import BUILT_IN, KeyMap, load_keymap
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
    keymap: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ENDPOINT=NAME")] = ()
    """How clients of an endpoint (openpi, roboarena, openvla, oft) name what the contract asks for:
    a built-in key map (rlco, libero, droid, roboarena, openvla, oft) or a YAML file, as in
    `openpi=libero` or `openpi=mine.yaml`."""
    root: Literal["openpi", "roboarena"] = "openpi"
    """Which of the two websocket protocols answers at `/`, the one path their clients know."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        if self.max_body_bytes < 1:
            raise SettingsError(f"max_body_bytes must be at least 1, got {self.max_body_bytes}")
        for endpoint in self._chosen:
            self.keymap_of(endpoint)

    def keymap_of(self, endpoint: str) -> KeyMap:
        """Return the key map of an endpoint.

        Raises:
            SettingsError: if there is no such endpoint or key map.
        """
        name = (DEFAULT_KEYMAPS | self._chosen)[endpoint]
        try:
            return load_keymap(name)
        except SpecError as error:
            raise SettingsError(f"--keymap {endpoint}={name}: {error}") from error

    @property
    def _chosen(self) -> dict[str, str]:
        chosen = {}
        for value in self.keymap:
            endpoint, equals, name = value.partition("=")
            if not equals or not name or endpoint not in DEFAULT_KEYMAPS:
                raise SettingsError(
                    f"--keymap {value}: write ENDPOINT=NAME with an endpoint of "
                    f"{list(DEFAULT_KEYMAPS)} and a key map of {list(BUILT_IN)} or a YAML file"
                )
            chosen[endpoint] = name
        return chosen
