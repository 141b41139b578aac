"""Record demonstrations in the simulated lab.

ros2 launch rlco collect.launch.py twin:=hidden.yaml store:=demos.zarr
"""

from launch import LaunchDescription
from rlco.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph `collect` of `rlco.bringup`."""
    return launch_description("collect")
