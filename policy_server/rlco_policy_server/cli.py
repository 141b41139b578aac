"""`rlco-serve`: checkpoints in, HTTP out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rlco_policy_server.engine import WarmUpError
from rlco_policy_server.process import ServeError, ServeOptions, exit_cleanly_on_signals, serve
from rlco_policy_server.references import CheckpointReferenceError, parse_references
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve policies over HTTP.

    In: checkpoint folders, as `rlco-train` writes them. Out: `POST /v1/infer`, `GET /v1/metadata`,
    `/healthz`, `/readyz` and `/docs` on one port, which opens once every policy is warm.
    Example: `rlco-serve --checkpoint runs/rlco --port 8000`. For a blind evaluation:
    `rlco-serve --blind --checkpoint A=runs/sft --checkpoint B=runs/rlco`.
    """

    checkpoint: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="DIR")]]
    """A checkpoint folder, or ALIAS=DIR; may be given several times. A bare DIR gets the alias
    `default`."""
    host: str = "127.0.0.1"
    """The address to listen on; other than loopback only with --allow-remote."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    blind: bool = False
    """Show aliases only: no checkpoint or normalisation id reaches a client."""
    allow_remote: bool = False
    """Listen on a non-loopback address although requests are not authenticated."""
    ready_file: Path | None = None
    """A JSON file to write {url, pid, policies} to once the port is open, for scripts."""
    torch_threads: int = 1
    """CPU threads of one inference."""
    queue_limit: int = 16
    """How many requests may wait; more are answered 503."""
    max_body_bytes: int = MAX_MESSAGE_BYTES
    """The largest request body."""
    drain_s: int = 10
    """How long open requests may take to finish after SIGTERM."""


def main() -> None:
    """Run `rlco-serve`; exits 0 after a signal, 2 when it cannot serve."""
    arguments = tyro.cli(Arguments)
    exit_cleanly_on_signals()
    try:
        folders = parse_references(arguments.checkpoint)
        options = ServeOptions(
            host=arguments.host,
            port=arguments.port,
            blind=arguments.blind,
            allow_remote=arguments.allow_remote,
            queue_limit=arguments.queue_limit,
            max_body_bytes=arguments.max_body_bytes,
            drain_s=arguments.drain_s,
            ready_file=arguments.ready_file,
        )
        # Torch takes seconds to import: --help and a mistyped option must not wait for it.
        from rlco_policy_server.checkpoints import load_checkpoints

        policies = load_checkpoints(folders, torch_threads=arguments.torch_threads)
        serve(policies, options)
    except (CheckpointReferenceError, ServeError, WarmUpError) as error:
        print(f"rlco-serve: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
