"""What the nodes decide, without ROS: streams, episodes, schedules, targets and sessions."""
