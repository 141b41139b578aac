"""ROS tests: every test speaks in a DDS domain of its own, on this machine only."""

import itertools
import os
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "fakes"
sys.path.insert(0, str(FAKES))

_DOMAINS = itertools.count(os.getpid())


@pytest.fixture
def domain(monkeypatch):
    """A ROS_DOMAIN_ID of this test's own, set for it and its child processes."""
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    from rlco.bringup import environment

    number = str(2 + next(_DOMAINS) % 100)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROS_DOMAIN_ID", number)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    path = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return number
