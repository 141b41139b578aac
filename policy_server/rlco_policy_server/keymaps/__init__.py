"""Key maps: how a client of another protocol names what the contract asks for.

One YAML file per kind of client; those in this folder go by name, others by path. A map says which
of the client's keys is which camera, what every part of its state means and in which unit, and what
its robot loop does with an action. Whatever does not fit the contract is refused by name.
"""

from __future__ import annotations

from pathlib import Path

from rlco_datasets import spec

from rlco_policy_server.keymaps.keymap import KeyMap, KeyMapError

__all__ = ["BUILT_IN", "KeyMap", "KeyMapError", "load_keymap"]

_FOLDER = Path(__file__).parent
BUILT_IN = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_keymap(name_or_path: str) -> KeyMap:
    """Return a built-in key map, or the one in a YAML file.

    Raises:
        spec.SpecError: if there is no such map, or it is malformed.
    """
    if name_or_path in BUILT_IN:
        return spec.load(KeyMap, _FOLDER / f"{name_or_path}.yaml")
    if not Path(name_or_path).suffix:
        raise spec.SpecError(
            f"key map {name_or_path!r} is not built in; choose from {list(BUILT_IN)}, or give the "
            "path of a YAML file"
        )
    return spec.load(KeyMap, name_or_path)
