"""Studies: the paper's tables and figures as resumable sequences of rlco's own commands."""
