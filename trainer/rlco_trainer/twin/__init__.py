"""The twin as a simulated scene: tasks, experts, batches and workers, built from a `Twin` alone."""
