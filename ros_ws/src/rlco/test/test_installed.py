"""What a workspace needs in order to run, for `colcon test`; the repository tests the rest.

Fails where a node, a launch file or a bench that is installed cannot be loaded: a missing
dependency says so here rather than on the robot.
"""

import importlib
from pathlib import Path

import pytest
from rlco.bench import load_bench

PACKAGE = Path(__file__).parents[1]
NODES = sorted((PACKAGE / "scripts").iterdir())
LAUNCH_FILES = sorted((PACKAGE / "launch").glob("*.launch.py"))
CONFIG = PACKAGE / "config"
BENCHES = sorted(path.stem.removeprefix("bench_") for path in CONFIG.glob("bench_*.yaml"))


@pytest.mark.parametrize("path", NODES, ids=lambda path: path.name)
def test_a_node_can_be_started(path):
    module = path.read_text().partition("from ")[2].partition(" import run")[0]
    assert callable(importlib.import_module(module).run)


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_is_complete(name):
    assert load_bench(name).name


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_loads_the_file_and_can_explain_its_arguments(path):
    sources = pytest.importorskip("launch.launch_description_sources")
    description = sources.get_launch_description_from_python_launch_file(str(path))
    arguments = description.get_launch_arguments()
    assert arguments
    assert all(argument.description for argument in arguments)
