"""AdamW for both stages: torch's, or with its moments in 8 bits each, or in the host's memory.

AdamW is Loshchilov and Hutter 2019 (arXiv 1711.05101, algorithm 2). For 8 bits a moment is cut
into blocks, each with its largest magnitude in float32 (Dettmers et al. 2022, arXiv 2110.02861,
section 2.1), and every number becomes one of 256 codes relative to that. Unlike theirs, our codes
are evenly spaced in the logarithm, and rounding is random without bias: the second moment changes
by a thousandth a step, which rounding to the nearest code would lose for ever.

In the host's memory moments stay float32, and the arithmetic is torch's own on the parameter's
device: a slice of both moments at a time goes there and comes back (Rajbhandari et al. 2021, arXiv
2104.07857, keep the arithmetic on the host too, which is slower per weight and rounds otherwise).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as torch_adamw

Moments = Literal["fp32", "8bit", "cpu"]
BYTES_PER_NUMBER: dict[Moments, float] = {"fp32": 8.0, "8bit": 2 * (1 + 4 / 256), "cpu": 0.0}
"""Optimizer state of one trained number on its device: two moments, and their blocks' scales."""
HOST_BYTES_PER_NUMBER: dict[Moments, float] = {"fp32": 0.0, "8bit": 0.0, "cpu": 8.0}
"""The same in the host's memory."""
BLOCK = 256
"""Numbers that share a scale."""
SLICE = BLOCK << 14
"""Numbers that are unpacked at once: bounds what a step needs beside its state."""
FIRST_DECADES, SECOND_DECADES = 5.0, 8.0
"""How far below a block's largest the smallest code is; 8 of squares are 4 of the root."""
BETAS, EPS = (0.9, 0.999), 1e-8


def _magnitudes(count: int, decades: float) -> Tensor:
    """Return `count` numbers from 10^-decades to 1, evenly spaced in the logarithm."""
    return torch.logspace(-decades, 0.0, count, dtype=torch.float64).float()


def _first_codes() -> Tensor:
    """Return 0 and both signs, ascending; one of 256 codes is left over and repeats the last."""
    positive = _magnitudes(127, FIRST_DECADES)
    return torch.cat([-positive.flip(0), torch.zeros(1), positive, positive[-1:]])


def _second_codes() -> Tensor:
    """Return 0 and 255 positive codes, ascending."""
    return torch.cat([torch.zeros(1), _magnitudes(255, SECOND_DECADES)])


def quantise(values: Tensor, codes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return `(N,)` values as `(N,) uint8` codes and `(blocks,) float32` scales.

    Rounds to one of the two neighbouring codes at random, so that the mean is the value itself.
    """
    count = len(values)
    blocks = nn.functional.pad(values, (0, -count % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    relative = (blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).flatten()
    relative = relative[:count].clamp(-1.0, 1.0)
    above = torch.bucketize(relative, codes).clamp(1, 255)
    low, high = codes[above - 1], codes[above]
    share = (relative - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    drawn = torch.rand(count, generator=generator, device=values.device)
    return (above - (drawn >= share).long()).to(torch.uint8), scales


def dequantise(packed: Tensor, scales: Tensor, codes: Tensor) -> Tensor:
    """Return the `(N,) float32` values of `quantise`'s codes and scales."""
    each = scales.repeat_interleave(BLOCK)[: len(packed)]
    return codes[packed.long()] * each


class _SlicedAdamW(torch.optim.Optimizer):
    """AdamW that updates a slice at a time and keeps its moments in a way of its own."""

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        """Take float32 parameters.

        Raises:
            ValueError: if one has another number format: small updates would be lost.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.dtype != torch.float32:
                    raise ValueError(f"moments kept apart are for float32 weights, got {p.dtype}")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step along the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        position = 0
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._descend(p, p.grad, position, group["lr"], group["weight_decay"])
                position += 1
        return loss

    @abstractmethod
    def _descend(
        self, p: nn.Parameter, grad: Tensor, position: int, lr: float, decay: float
    ) -> None:
        """Update one parameter, the `position`-th, and its state."""

    @abstractmethod
    def _kept(self, value: Tensor, p: nn.Parameter) -> Tensor:
        """Return a copy of a saved moment where this class keeps those of `p`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state as it is: torch would give moments the parameters' format and device."""
        super().load_state_dict(state_dict)
        parameters = [p for group in self.param_groups for p in group["params"]]
        for position, saved in state_dict["state"].items():
            p = parameters[position]
            self.state[p] = {
                name: value.clone() if name == "step" else self._kept(value, p)
                for name, value in saved.items()
            }


class BlockwiseAdamW(_SlicedAdamW):
    """AdamW whose moments take 8 bits each and a 64th for scales.

    Rounding is drawn from the step and the parameter's position, so a run repeats, and goes on
    after a kill, bit for bit.
    """

    def _kept(self, value: Tensor, p: nn.Parameter) -> Tensor:
        return value.to(p.device, copy=True)

    def _descend(
        self, p: nn.Parameter, grad: Tensor, position: int, lr: float, decay: float
    ) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            for name, zero in (("first", 127), ("second", 0)):
                state[name] = torch.full((p.numel(),), zero, dtype=torch.uint8, device=p.device)
                state[f"{name}_scale"] = torch.zeros(-(-p.numel() // BLOCK), device=p.device)
        state["step"] += 1
        step = int(state["step"])
        first_codes, second_codes = _first_codes().to(p.device), _second_codes().to(p.device)
        generator = torch.Generator(p.device).manual_seed(step * 1_000_003 + position)
        weights, slopes = p.detach().reshape(-1), grad.reshape(-1)
        for start in range(0, p.numel(), SLICE):
            part = slice(start, start + SLICE)
            blocks = slice(start // BLOCK, (start + SLICE) // BLOCK)
            w, g = weights[part], slopes[part].float()
            m = dequantise(state["first"][part], state["first_scale"][blocks], first_codes)
            v = dequantise(state["second"][part], state["second_scale"][blocks], second_codes)
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            w.mul_(1 - lr * decay)
            root = v.sqrt().div_(math.sqrt(1 - BETAS[1] ** step)).add_(EPS)
            w.addcdiv_(m, root, value=-lr / (1 - BETAS[0] ** step))
            for name, moment, codes in (("first", m, first_codes), ("second", v, second_codes)):
                packed, scales = quantise(moment, codes, generator)
                if name == "second":
                    packed[moment > 0] = packed[moment > 0].clamp(min=1)
                state[name][part], state[f"{name}_scale"][blocks] = packed, scales
        if not p.is_contiguous():  # then `weights` is a copy, as of kernels stored channels last
            p.copy_(weights.view(p.shape))


class HostAdamW(_SlicedAdamW):
    """AdamW whose float32 moments stay in the host's memory; the numbers are torch's."""

    def _kept(self, value: Tensor, p: nn.Parameter) -> Tensor:
        return self._empty(value.shape, p).copy_(value)

    @staticmethod
    def _empty(shape: torch.Size, p: nn.Parameter) -> Tensor:
        """Return memory that a GPU can read and write directly, where there is one."""
        return torch.empty(shape, pin_memory=p.is_cuda and torch.cuda.is_available())

    def _descend(
        self, p: nn.Parameter, grad: Tensor, position: int, lr: float, decay: float
    ) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            state |= {name: self._empty(p.shape, p).zero_() for name in ("exp_avg", "exp_avg_sq")}
        weights, slopes = p.detach().reshape(-1), grad.reshape(-1)
        whole = (weights, slopes, state["exp_avg"].view(-1), state["exp_avg_sq"].view(-1))
        for w, g, *kept in zip(*(values.split(SLICE) for values in whole), strict=True):
            first, second = (moment.to(p.device) for moment in kept)
            torch_adamw(
                *([w], [g], [first], [second], [], [state["step"].clone()]),
                foreach=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=lr,
                weight_decay=decay,
                eps=EPS,
                maximize=False,
            )
            kept[0].copy_(first)
            kept[1].copy_(second)
        state["step"] += 1
        if not p.is_contiguous():  # then `weights` is a copy
            p.copy_(weights.view(p.shape))


def adamw(
    parameters: Iterable[nn.Parameter], *, lr: float, moments: Moments, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Return AdamW with its moments as asked for; without decay it is Adam."""
    if moments == "8bit":
        return BlockwiseAdamW(parameters, lr=lr, weight_decay=weight_decay)
    if moments == "cpu":
        return HostAdamW(parameters, lr=lr, weight_decay=weight_decay)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, foreach=True)
