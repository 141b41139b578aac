"""Run a blind study in the simulated lab.

ros2 launch rlco eval.launch.py twin:=hidden.yaml study:=study.yaml ...
"""

from launch import LaunchDescription
from rlco.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph `eval` of `rlco.bringup`."""
    return launch_description("eval")
