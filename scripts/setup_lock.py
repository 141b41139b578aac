"""Write constraints.txt: the exact versions in this virtual environment.

Run it (`make lock`) in an environment whose tests pass, on the oldest supported Python (3.11): some
packages' newest releases need 3.12 (zarr 3.2 is one), and what 3.11 can install, 3.12 can too.
"""

import importlib.metadata
import re
from pathlib import Path

HEADER = """\
# The tested set: exact versions, written by `make lock` on Python 3.11 (which caps zarr at 3.1.6
# and IPython at 9.x among others); 3.12 takes the same. PyTorch's build is chosen by set-up.
"""


def installed() -> dict[str, str]:
    """Return name -> version of what pip installed here, less our own and local builds."""
    found = {}
    for package in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        by_pip = (package.read_text("INSTALLER") or "").strip() == "pip"
        editable = package.read_text("direct_url.json") is not None
        if by_pip and not editable and not name.startswith(("rlco", "ros-rlco")) and name != "pip":
            found[name] = package.version.partition("+")[0]
    return found


def main() -> None:
    """Write the file beside this repository's root pyproject.toml."""
    path = Path(__file__).resolve().parent.parent / "constraints.txt"
    lines = [f"{name}=={version}\n" for name, version in sorted(installed().items())]
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"{path}: {len(lines)} packages")


if __name__ == "__main__":
    main()
