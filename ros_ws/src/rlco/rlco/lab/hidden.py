"""The only reader of hidden twins."""

from __future__ import annotations

import os

from rlco_calibration.twin import Twin
from rlco_datasets import spec


def load_hidden_twin(path: str | os.PathLike[str]) -> Twin:
    """Read the twin that a simulated lab is built from, hidden or not.

    Training and calibration use `rlco_calibration.twin.load_twin`, which refuses hidden twins.

    Raises:
        SpecError: if the file is missing or malformed.
    """
    return spec.load(Twin, path)
