"""Play an episode of a store through the stack.

ros2 launch rlco replay.launch.py bench:=bench.yaml store:=demos.zarr episode:=3
"""

from launch import LaunchDescription
from rlco.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph `replay` of `rlco.bringup`."""
    return launch_description("replay")
