"""The robot side of rlco: ROS 2 nodes, the simulated lab and how they are brought up."""

__version__ = "0.1.0"
