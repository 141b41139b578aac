"""Checkpoints into served policies: the only part of the server that meets the trainer."""

from rlco_policy_server.checkpoints.loader import CheckpointLoader, add_to_store, load_checkpoints

__all__ = ["CheckpointLoader", "add_to_store", "load_checkpoints"]
