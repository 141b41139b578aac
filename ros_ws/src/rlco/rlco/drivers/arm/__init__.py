"""Arms: the robot itself (fci), or one that crisp_controllers drives."""
