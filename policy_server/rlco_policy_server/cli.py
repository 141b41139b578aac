"""`rlco-serve`: checkpoints in, HTTP out; and `rlco-serve key|models|replay`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from rlco_policy_server.commands import key, models, replay
from rlco_policy_server.commands.loading import LoadOptions
from rlco_policy_server.endpoints.settings import EndpointSettings, SettingsError
from rlco_policy_server.engine import WarmUpError
from rlco_policy_server.logs import log_as_json
from rlco_policy_server.options import ServeError, ServeOptions
from rlco_policy_server.process import exit_cleanly_on_signals, serve
from rlco_policy_server.references import CheckpointReferenceError, parse_references

COMMANDS = {"key": key.main, "models": models.main, "replay": replay.main}


@dataclass(frozen=True, kw_only=True)
class Arguments(ServeOptions):
    """Serve policies over HTTP.

    In: checkpoint folders, as `rlco-train` writes them, or references into a model store. Out: the
    routes of every protocol, `/healthz`, `/readyz`, `/metrics` and `/docs` on one port, which opens
    once every policy is warm.
    Example: `rlco-serve --checkpoint runs/rlco --port 8000`. For a blind evaluation:
    `rlco-serve --blind --checkpoint A=runs/sft --checkpoint B=runs/rlco`.
    Other commands, each with its own --help: `rlco-serve key` makes API keys, `rlco-serve models`
    fills a model store, `rlco-serve replay STORE` sends recorded frames through a server.
    """

    checkpoint: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="REF")]]
    """A checkpoint folder or NAME@HASH, or ALIAS=REF; may be given several times. A bare REF gets
    the alias `default`."""
    shadow: str | None = None
    """A checkpoint that is asked too, whenever nothing else waits; its answers are only logged."""
    load: Annotated[LoadOptions, tyro.conf.arg(name="")] = field(default_factory=LoadOptions)
    """How checkpoints are loaded."""
    endpoints: Annotated[EndpointSettings, tyro.conf.arg(name="")] = field(
        default_factory=EndpointSettings
    )
    """Limits and choices of the protocols."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """From which level on JSON lines are logged to stderr: refusals are info, every request is
    debug."""


def main() -> None:
    """Run `rlco-serve`; exits 0 after a signal, 2 when it cannot serve."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        COMMANDS[sys.argv[1]](sys.argv[2:])
        return
    exit_cleanly_on_signals()
    try:
        arguments = tyro.cli(Arguments)
        log_as_json(arguments.log_level)
        references = parse_references(arguments.checkpoint)
        # Torch takes seconds to import: --help and a mistyped option must not wait for it.
        loader = arguments.load.loader()
        policies = [loader.load(alias, ref) for alias, ref in references.items()]
        shadow = None if arguments.shadow is None else loader.load("shadow", arguments.shadow)
        serve(policies, arguments, shadow=shadow, loader=loader)
    except (CheckpointReferenceError, ServeError, SettingsError, WarmUpError) as error:
        print(f"rlco-serve: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
