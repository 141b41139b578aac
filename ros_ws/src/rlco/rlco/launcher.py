"""How a node knows which process launched it."""

LAUNCHER_PID = "RLCO_LAUNCHER_PID"
"""Environment variable: the process whose death, even by SIGKILL, ends the node."""
