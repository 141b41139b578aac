"""Start a bench's devices and its guard, and nothing that moves it.

ros2 launch rlco bringup.launch.py bench:=bench.yaml
"""

from launch import LaunchDescription
from rlco.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph `bringup` of `rlco.bringup`."""
    return launch_description("bringup")
