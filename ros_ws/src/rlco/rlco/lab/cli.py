"""`rlco-lab`: make simulated labs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec

from rlco.lab.draw import draw_lab


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draw a hidden lab around a training twin.

    Goes in: the training twin's file. Comes out: a twin file marked hidden, which only the
    simulated lab reads; training and calibration refuse it.
    Example: `rlco-lab draw --seed 3 --gap 1.0 --out runs/lab/hidden.yaml`
    """

    out: Path
    """File to write the hidden twin to; an existing one is replaced."""
    twin: Path = field(default_factory=demo_bench)
    """The training twin; the demo bench if not given."""
    seed: int = 0
    """Which lab; the same seed and gap always give the same."""
    gap: float = 1.0
    """How different the lab is: 0 not at all, 1 as benches differ from their first measurement."""


def run(command: Draw) -> None:
    """Do what the command line asks for.

    Raises:
        ValueError: naming the file or value that is wrong.
    """
    lab = draw_lab(load_twin(command.twin), seed=command.seed, gap=command.gap)
    spec.save(lab, command.out)
    print(f"{command.out}: hidden lab {lab.name} ({lab.id}), gap {command.gap:g}")


def main() -> None:
    """Run `rlco-lab`."""
    command = tyro.extras.subcommand_cli_from_dict({"draw": Draw}, description=__doc__)
    try:
        run(command)
    except (ValueError, OSError) as error:
        print(f"rlco-lab: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
