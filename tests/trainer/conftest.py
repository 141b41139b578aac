"""The machine's few cores are shared: one torch thread a process is the fastest."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
