from __future__ import annotations

import hypothesis
import pytest
from rlco_datasets.contract import Contract, franka_compact

# A busy machine is no failure.
hypothesis.settings.register_profile("rlco", deadline=None)
hypothesis.settings.load_profile("rlco")


@pytest.fixture
def contract() -> Contract:
    return franka_compact()
