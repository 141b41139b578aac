"""Nodes as processes, and a client node in the test's own process."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

TIMEOUT_S = 180.0
"""Generous: a busy machine is no failure."""
REPEAT_S = 10.0


def graph(name, **values):
    """Run a graph over the fake bench to its end; return exit code and output."""
    words = [f"{key}:={value}" for key, value in values.items()]
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fake_graphs.py")), name, *words],
        capture_output=True,
        text=True,
        timeout=5 * TIMEOUT_S,
    )
    return result.returncode, result.stdout + result.stderr


class NodeProcess:
    """One node of rlco, its output collected."""

    def __init__(self, module, parameters, folder, *, name=None, preexec=None, stdin=None):
        self.name = name or module.rpartition(".")[2]
        path = Path(folder, f"{self.name}.yaml")
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", "--params-file", str(path)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=preexec,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def output(self):
        return "".join(self.lines)

    def end(self, number=signal.SIGINT):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code


def children_of(pid):
    """The process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def nodes(*processes):
    """Kill what is left of the processes at the end."""
    try:
        yield processes
    finally:
        for item in processes:
            if item.process.poll() is None:
                item.process.kill()
            item.process.wait()


class Client:
    """A node in this process that waits for things."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_client", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.statuses = {}

    def until(self, done, what="the condition", timeout_s=TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, (
                f"waited {timeout_s} s for {what}; diagnostics: {self.statuses}"
            )
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind, name, request):
        """Call a service; ask again where no answer comes, as it is lost where the server has not
        discovered this client yet, or is not the one that was killed a moment ago."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f"service {name}")
        futures, again_s = [], 0.0

        def answered():
            nonlocal again_s
            if time.monotonic() > again_s:
                again_s = time.monotonic() + REPEAT_S
                futures.append(client.call_async(request))
            return any(future.done() for future in futures)

        self.until(answered, f"an answer of {name}")
        self.node.destroy_client(client)
        return next(future for future in futures if future.done()).result()

    def watch_diagnostics(self):
        from diagnostic_msgs.msg import DiagnosticArray

        def keep(message):
            for status in message.status:
                level = int.from_bytes(status.level, "little")
                self.statuses[status.name] = (level, status.message)

        self.node.create_subscription(DiagnosticArray, "diagnostics", keep, 10)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@contextlib.contextmanager
def client():
    made = Client()
    try:
        yield made
    finally:
        made.close()
