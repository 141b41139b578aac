"""Start a bench and keep captures of a calibration board.

ros2 launch rlco calibrate.launch.py bench:=bench.yaml folder:=calibration
"""

from launch import LaunchDescription
from rlco.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph `calibrate` of `rlco.bringup`."""
    return launch_description("calibrate")
