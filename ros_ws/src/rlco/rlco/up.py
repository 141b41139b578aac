"""`rlco-up`: runs a graph of rlco as processes, where `ros2 launch` is not installed.

    rlco-up collect twin:=hidden.yaml store:=demos.zarr episodes:=25
    rlco-up eval twin:=hidden.yaml study:=study.yaml ledger:=ledger.jsonl server:=http://...
    rlco-up collect bench:=bench.yaml store:=demos.zarr operator:=ada episodes:=25
    rlco-up collect --show-args

Goes in: arguments `key:=value` (see --show-args). Comes out: what the graph's nodes write, their
output with each node's name before it, and the exit code of the main node. All nodes end when one
of them does. SIGINT and SIGTERM end all of them in order; killed itself, rlco-up takes them along.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import yaml

from rlco.bringup import GRAPHS, ArgumentError, Graph, NodeSpec, environment
from rlco.launcher import LAUNCHER_PID

POLL_S = 0.05
ESCALATION = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class Processes:
    """The nodes of one graph, running."""

    def __init__(self, nodes: tuple[NodeSpec, ...], values: Mapping[str, str]) -> None:
        """Start every node, with a parameter file each."""
        self._folder = tempfile.TemporaryDirectory(prefix="rlco_up_")
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._pumps: list[threading.Thread] = []
        variables = {**os.environ, **environment(values), LAUNCHER_PID: str(os.getpid())}
        for node in nodes:
            path = Path(self._folder.name, f"{node.name}.yaml")
            path.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(node.parameters)}}))
            command = [sys.executable, "-m", node.module, "--ros-args", "--params-file", str(path)]
            command += ["-r", f"__node:={node.name}"]
            if values.get("namespace"):
                command += ["-r", f"__ns:=/{values['namespace'].strip('/')}"]
            process = subprocess.Popen(
                command,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches rlco-up alone, which passes it on
            )
            self._running[node.name] = process
            pump = threading.Thread(target=_pump, args=(node.name, process), daemon=True)
            pump.start()
            self._pumps.append(pump)

    def ended(self) -> dict[str, int]:
        """Return the exit code of every node that has ended."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self) -> dict[str, int]:
        """End every node, harder where it does not listen; return the exit codes."""
        for number, patience_s in ESCALATION:
            left = [name for name in self._running if name not in self.ended()]
            if not left:
                break
            if number is not signal.SIGINT:
                print(f"rlco-up: {', '.join(left)} still running: {number.name}", flush=True)
            for name in left:
                self._running[name].send_signal(number)
            deadline_s = time.monotonic() + patience_s
            while len(self.ended()) < len(self._running) and time.monotonic() < deadline_s:
                time.sleep(POLL_S)
        for pump in self._pumps:
            pump.join(timeout=2.0)
        self._folder.cleanup()
        return self.ended()


def _pump(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(f"[{name}] {line}", end="", flush=True)


def run(graph: Graph, values: Mapping[str, str]) -> int:
    """Run a graph until its main node ends; return the exit code.

    The main node's code; 1 if another node died before; 128 + the signal's number if interrupted.

    Raises:
        ArgumentError: naming an unknown, missing or impossible argument.
    """
    nodes = graph.nodes(values)
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    processes = Processes(nodes, values)
    died: dict[str, int] = {}
    try:
        while not received and not died:
            died = processes.ended()
            time.sleep(POLL_S)
    finally:
        codes = processes.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        return 128 + received[0]
    for node in nodes:
        if node.main and node.name in died:
            return codes[node.name]
    for name, code in died.items():
        print(f"rlco-up: node {name} died with exit code {code}; all stopped", file=sys.stderr)
    return 1


def show_arguments(graph: Graph) -> str:
    """Return the arguments of a graph as text."""
    lines = [graph.description, "", "Arguments (key:=value):"]
    for argument in graph.arguments:
        default = "required" if argument.default is None else f"default: {argument.default!r}"
        lines.append(f"    {argument.name}  ({default})\n        {argument.description}")
    return "\n".join(lines)


def main() -> None:
    """Run the graph named on the command line."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        for graph in GRAPHS.values():
            print(f"{graph.name}: {show_arguments(graph)}\n")
        return
    name, rest = words[0], words[1:]
    try:
        if name not in GRAPHS:
            raise ArgumentError(f"unknown graph {name!r}; there are {sorted(GRAPHS)}")
        if {"--show-args", "-s", "-h", "--help"} & set(rest):
            print(show_arguments(GRAPHS[name]))
            return
        malformed = [word for word in rest if ":=" not in word]
        if malformed:
            raise ArgumentError(f"expected key:=value, got {malformed[0]!r}")
        values = dict(word.split(":=", 1) for word in rest)
        code = run(GRAPHS[name], values)
    except ValueError as error:
        print(f"rlco-up: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
