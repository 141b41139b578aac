"""Grippers: the Franka hand itself (fci), or through franka_ros2's gripper node."""
