"""Twin scenes, experts, policies and the two stages of sim-real co-training."""

from importlib.metadata import version

__version__ = version("rlco-trainer")
