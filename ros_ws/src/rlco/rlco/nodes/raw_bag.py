"""The raw messages of an episode as an MCAP bag, as `ros2 bag` and Foxglove read it.

One rosbag2 folder an episode, beside the store: `<store>-raw/000012`. While it is written its name
ends in `.partial`; only a committed episode's bag gets its number.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

ROSBAG2_VERSION: Literal[9] = 9
PARTIAL = "episode.partial"


def raw_folder(store: Path) -> Path:
    """Return the folder of a store's bags."""
    return store.with_name(f"{store.name}-raw")


class RawBag:
    """The bag of one episode while it is recorded."""

    def __init__(self, store: Path, types: Mapping[str, str]) -> None:
        """Begin a bag; `types` maps topic -> message type.

        What an interrupted recording left is removed.
        """
        self._folder = raw_folder(store)
        self._partial = self._folder / PARTIAL
        shutil.rmtree(self._partial, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = Writer(
            self._partial, version=ROSBAG2_VERSION, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.open()
        typestore = get_typestore(Stores.ROS2_JAZZY)
        self._connections = {
            topic: self._writer.add_connection(f"/{topic}", kind, typestore=typestore)
            for topic, kind in types.items()
        }

    def write(self, topic: str, stamp_ns: int, raw: bytes) -> None:
        """Write a serialized message under its capture stamp."""
        self._writer.write(self._connections[topic], stamp_ns, raw)

    def commit(self, index: int) -> Path:
        """Finish the bag of the episode that got `index`; return its folder."""
        self._writer.close()
        final = self._folder / f"{index:06d}"
        shutil.rmtree(final, ignore_errors=True)  # of an episode that a crash took back
        self._partial.rename(final)
        return final

    def discard(self) -> None:
        """Remove what was written."""
        self._writer.close()
        shutil.rmtree(self._partial, ignore_errors=True)
