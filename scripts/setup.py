"""Set up rlco in `.venv`: Python, ROS 2 Jazzy, PyTorch, the simulator and a Vulkan driver.

Standard library only, run by the system's Python (3.11 or newer); `make setup` calls it. A second
run does nothing but compare fingerprints and takes under a second.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

EPILOG = """\
goes in:   the pyproject.toml of each folder, constraints.txt, requirements-dev.txt, ros_ws/src
comes out: .venv (everything installed; packages of this repository are editable),
           .venv/bin/rlco-env.sh (source it to use the environment by hand), logs in .cache/setup

examples:
  make setup
  make setup PYTHON=/usr/bin/python3.12
  make setup TORCH_INDEX=URL     a package index that serves the PyTorch build you want, such as
                                 PyTorch's own CPU index on a machine without an NVIDIA GPU, where
                                 a plain install brings several GB of CUDA packages
"""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make setup",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--torch-index",
        default=os.environ.get("TORCH_INDEX", ""),
        metavar="URL",
        help="package index for PyTorch alone (default: TORCH_INDEX, else pip's own)",
    )
    parser.add_argument(
        "--tests",
        action="store_true",
        help="also what only the tests need: Chromium, device libraries, simulated robots",
    )
    return parser.parse_args()


def main() -> int:
    """Run all steps; return the process's exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the system's Python may be any
        print(
            f"setup needs Python 3.11 or newer to start, and this is {sys.version.split()[0]}.\n"
            "Install python3.11 or python3.12 and run: make setup PYTHON=python3.12",
            file=sys.stderr,
        )
        return 1
    from setuplib.console import SetupError
    from setuplib.steps import Options, set_up

    arguments = _parse()
    options = Options(
        root=ROOT,
        torch_index=arguments.torch_index,
        tests=arguments.tests,
    )
    try:
        set_up(options)
    except SetupError as error:
        print(f"\nset-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; run it again to go on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
