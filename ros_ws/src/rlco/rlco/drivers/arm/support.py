"""Which robots can be driven with what, as far as Franka's version table says."""

from __future__ import annotations

SUPPORTED = (
    ("FR3, system 5.9 or newer", "10", "franky-control 2.0 (libfranka 0.21), pylibfranka 0.21"),
    ("FR3, system 5.7.2 to 5.8", "9", "franky-control built with libfranka 0.15 to 0.17"),
    (
        "Panda (FER)",
        "3 to 5",
        "panda-python 1.1.1 (libfranka 0.9), or crisp with franka_ros2 of FER",
    ),
)
"""Robot, version of its FCI server, client that speaks it."""

FCI_SERVER_OF_CLIENT = {"2.0": "10"}
"""franky-control's minor version -> the one FCI server version that its libfranka accepts."""


def server_version(client_version: str) -> str:
    """Return the FCI server version that an accepted connection of a client proves."""
    minor = ".".join(client_version.split(".")[:2])
    return FCI_SERVER_OF_CLIENT.get(minor, "unknown")


def matrix() -> str:
    """Return the table as text."""
    return "\n".join(
        f"  {robot}: FCI server {server}, needs {client}" for robot, server, client in SUPPORTED
    )
