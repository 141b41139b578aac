"""Server processes for tests: started, awaited and always reaped."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def server_process(
    *arguments: str, ready_file: Path
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the URL of `python *arguments` once it announced itself, and the process."""
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:  # blocks until the server speaks or ends
            lines.append(line)
            if line.startswith("serving "):
                break
        else:
            raise AssertionError(f"the server ended: {''.join(lines)}")
        yield json.loads(ready_file.read_text())["url"], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
