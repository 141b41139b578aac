from __future__ import annotations

import pytest
from rlco_datasets.contract import Contract, franka_compact


@pytest.fixture
def contract() -> Contract:
    return franka_compact()
