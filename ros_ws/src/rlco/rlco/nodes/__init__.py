"""ROS 2 nodes: each parses messages, calls the core, and publishes."""
