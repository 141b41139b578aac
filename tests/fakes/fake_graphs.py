"""`rlco-up` over the fake bench: the graphs of `rlco.bringup` with `sim_lab` exchanged."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from rlco.bringup import GRAPHS
from rlco.up import run


def with_fake_lab(name):
    graph = GRAPHS[name]

    def build(values):
        return tuple(
            replace(node, module="fake_scene") if node.name == "sim_lab" else node
            for node in graph.build(values)
        )

    return replace(graph, build=build)


if __name__ == "__main__":
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    values = dict(word.split(":=", 1) for word in sys.argv[2:])
    sys.exit(run(with_fake_lab(sys.argv[1]), values))
