"""Reading rows of a zarr array with tensorstore: parallel, without a cache of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray


class ReadError(ValueError):
    """An array or one of its chunk files cannot be read."""


class ArrayReader:
    """A zarr format 2 array, as long as it was when this was made."""

    def __init__(self, folder: Path) -> None:
        """Open the array in `folder`."""
        description = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": str(folder) + "/"},
            "fill_missing_data_reads": False,
        }
        try:
            self._array = ts.open(description, read=True, context=ts.Context()).result()
        except ValueError as error:
            raise ReadError(f"{folder} cannot be opened ({error})") from error

    def rows(self, chosen: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return the chosen rows, `(R, ...)`, in that order."""
        try:
            return np.asarray(self._array[chosen].read().result())
        except ValueError as error:
            raise ReadError(str(error)) from error
