"""Twin scenes, experts, policies and the two stages of sim-real co-training."""

import os
from importlib.metadata import version

# Before torch loads OpenMP: threads that wait for each other must sleep, not spin. On a machine
# with other work, spinning made a training step three times slower and cost twice the CPU time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("rlco-trainer")
