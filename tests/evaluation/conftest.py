from __future__ import annotations

from pathlib import Path

import pytest
from fakes import studies
from rlco_evaluation.study import Study


@pytest.fixture
def study() -> Study:
    return studies.make_study()


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> studies.FakeStudy:
    """A made-up study that is done; read only."""
    return studies.write_study(tmp_path_factory.mktemp("finished"))
