"""Twin scenes, experts, policies and the two stages of sim-real co-training."""
