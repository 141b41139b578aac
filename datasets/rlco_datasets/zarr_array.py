"""Appending to a zarr format 2 array on local disk, durably and one chunk file at a time.

Reading is tensorstore's job. Writing is done here because neither library gives what a recorder
needs: zarr-python 3 spends 0.7 ms a chunk and never fsyncs, and both hide which files were written,
which the commit protocol of the store must know (`benchmarks/store.py` holds the numbers).
Arrays are split along the first axis only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from rlco_datasets.durable import replace_file, write_file

LOW_DIM_CHUNK_ROWS = 1024
LOW_DIM_CHUNK_BYTES = 1 << 16
METADATA_FILE = ".zarray"


class ArrayError(ValueError):
    """The files of an array are missing, malformed or damaged."""


@dataclass(frozen=True, kw_only=True)
class ZarrArray:
    """One array in `folder`: rows of `row_shape`, `chunk_rows` of them in each file."""

    folder: Path
    dtype: str
    row_shape: tuple[int, ...]
    chunk_rows: int

    @classmethod
    def for_rows(
        cls, folder: Path, values: NDArray[Any], *, chunk_rows: int | None = None
    ) -> ZarrArray:
        """Describe an array for rows like those of `values` `(T, ...)`; chunks up to 64 KiB."""
        if chunk_rows is None:
            row_bytes = max(1, values.dtype.itemsize * math.prod(values.shape[1:]))
            chunk_rows = max(1, min(LOW_DIM_CHUNK_ROWS, LOW_DIM_CHUNK_BYTES // row_bytes))
        return cls(
            folder=folder,
            dtype=values.dtype.newbyteorder("<").str,
            row_shape=tuple(values.shape[1:]),
            chunk_rows=chunk_rows,
        )

    @classmethod
    def load(cls, folder: Path) -> tuple[ZarrArray, int]:
        """Read an array's layout and its number of rows.

        Raises:
            ArrayError: if the metadata is missing or describes an array this module cannot append.
        """
        path = folder / METADATA_FILE
        try:
            meta = json.loads(path.read_bytes())
            rows, *row_shape = meta["shape"]
            chunk_rows, *chunk_shape = meta["chunks"]
            array = cls(
                folder=folder,
                dtype=np.dtype(meta["dtype"]).str,
                row_shape=tuple(row_shape),
                chunk_rows=chunk_rows,
            )
        except FileNotFoundError as error:
            raise ArrayError(f"{path} is missing") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ArrayError(f"{path} is not JSON ({error}); it was cut short") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ArrayError(f"{path} does not describe a zarr format 2 array ({error})") from error
        if meta.get("zarr_format") != 2 or chunk_shape != row_shape:
            raise ArrayError(f"{path}: expected zarr format 2, split along the first axis only")
        return array, int(rows)

    def set_rows(self, rows: int) -> None:
        """Make the first `rows` rows the array, durably and at once."""
        meta = {
            "chunks": [self.chunk_rows, *self.row_shape],
            "compressor": self._codec.get_config(),
            "dimension_separator": ".",
            "dtype": self.dtype,
            "fill_value": 0,
            "filters": None,
            "order": "C",
            "shape": [rows, *self.row_shape],
            "zarr_format": 2,
        }
        replace_file(self.folder / METADATA_FILE, json.dumps(meta, indent=1).encode())

    def write(self, start: int, values: NDArray[Any]) -> list[Path]:
        """Write `values` `(T, ...)` as rows `start` to `start + T`; return the new files.

        The new files are not yet on disk (`durable.sync`) and not yet part of the array
        (`set_rows`). A chunk that already holds rows before `start` is replaced durably at once,
        with those rows unchanged.
        """
        values = np.ascontiguousarray(values, self.dtype)
        new: list[Path] = []
        first, stop = start // self.chunk_rows, start + len(values)
        for index in range(first, -(-stop // self.chunk_rows)):
            low = index * self.chunk_rows
            chunk = values[max(0, low - start) : low + self.chunk_rows - start]
            if low < start or len(chunk) < self.chunk_rows:
                padded = np.zeros((self.chunk_rows, *self.row_shape), self.dtype)
                if low < start:
                    padded[: start - low] = self.read_chunk(index)[: start - low]
                at = max(0, start - low)
                padded[at : at + len(chunk)] = chunk
                chunk = padded
            path, data = self.chunk_path(index), bytes(self._codec.encode(chunk))
            if low < start:
                replace_file(path, data)
            else:
                write_file(path, data)
                new.append(path)
        return new

    def read_chunk(self, index: int) -> NDArray[Any]:
        """Return one whole chunk `(chunk_rows, ...)`; raises `ArrayError` if it is damaged."""
        path = self.chunk_path(index)
        shape = (self.chunk_rows, *self.row_shape)
        try:
            data = path.read_bytes()
            # Blosc reads past the end of a file that is shorter than its header says.
            stated = int.from_bytes(data[12:16], "little")
            if len(data) < 16 or stated != len(data):
                raise ArrayError(f"{path} is damaged: {len(data)} bytes, not {stated}")
            return np.frombuffer(self._codec.decode(data), self.dtype).reshape(shape)
        except FileNotFoundError as error:
            raise ArrayError(f"{path} is missing") from error
        except RuntimeError as error:
            raise ArrayError(f"{path} is damaged ({error})") from error

    def chunk_path(self, index: int) -> Path:
        """Return the file of chunk `index`."""
        return self.folder / (str(index) + ".0" * len(self.row_shape))

    def chunk_files(self) -> dict[int, Path]:
        """Return the chunk files that exist, by index; other files are left out."""
        suffix = ".0" * len(self.row_shape)
        found = {}
        for path in self.folder.iterdir():
            stem = path.name.removesuffix(suffix) if suffix else path.name
            if stem.isdecimal() and stem + suffix == path.name:
                found[int(stem)] = path
        return found

    def strays(self, rows: int) -> list[Path]:
        """Return the files that an array of `rows` rows has no use for."""
        keep = {METADATA_FILE, ".zattrs"}
        needed = self.chunks_for(rows)
        chunks = {path for index, path in self.chunk_files().items() if index < needed}
        return sorted(p for p in self.folder.iterdir() if p.name not in keep and p not in chunks)

    def missing(self, rows: int) -> list[Path]:
        """Return the chunk files that an array of `rows` rows lacks."""
        present = self.chunk_files()
        return [self.chunk_path(i) for i in range(self.chunks_for(rows)) if i not in present]

    def chunks_for(self, rows: int) -> int:
        """Return how many chunks hold `rows` rows."""
        return -(-rows // self.chunk_rows)

    @property
    def _codec(self) -> Blosc:
        one_byte = np.dtype(self.dtype).itemsize == 1
        return Blosc(cname="lz4", clevel=5, shuffle=Blosc.NOSHUFFLE if one_byte else Blosc.SHUFFLE)
