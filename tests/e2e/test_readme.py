"""What the README tells a newcomer to type, typed."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

README = Path(__file__).parents[2] / "README.md"
TIMEOUT_S = 180


def commands(heading: str) -> str:
    """Return the shell commands in one section of the README."""
    section = README.read_text(encoding="utf-8").split(f"### {heading}\n", 1)[1].split("\n##")[0]
    (code,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return str(code)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.slow
def test_a_policy_can_be_asked_as_the_readme_says(tmp_path: Path) -> None:
    port = str(free_port())
    shell = commands("Ask a policy").replace("\\\n", "").replace("8000", port)
    init, serve, *ask = [line for line in shell.splitlines() if line]
    run_in(tmp_path, init)
    server = subprocess.Popen(serve.removesuffix(" &").split(), cwd=tmp_path)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", server)
        for line in ask:
            answer = run_in(tmp_path, line)
        assert "policy_id" in answer
    finally:
        server.terminate()
        assert server.wait(TIMEOUT_S) == 0


def run_in(folder: Path, line: str) -> str:
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, text=True, capture_output=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError(f"{url} was not ready within {TIMEOUT_S} s")
