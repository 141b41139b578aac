"""AdamW with moments of 8 bits, or in the host's memory: torch's descent in less memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rlco_trainer import optimizers
from rlco_trainer.optimizers import (
    BLOCK,
    BYTES_PER_NUMBER,
    BlockwiseAdamW,
    _first_codes,
    _second_codes,
    adamw,
    dequantise,
    quantise,
)
from rlco_trainer.training_state import (
    TrainingState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy(seed: int = 0):
    """A regression on noisy batches; returns the network and its loss at a step."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 5))
    teacher = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 5)).requires_grad_(False)

    def loss(step: int, size: int = 64):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        x = torch.randn(size, 24, generator=generator) * torch.logspace(-1, 0.5, 24)
        noise = 0.1 * torch.randn(size, 5, generator=generator)
        return nn.functional.mse_loss(network(x), teacher(x) + noise)

    return network, loss


def train(optimizer, loss, first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.zero_grad(set_to_none=True)
        loss(step).backward()
        optimizer.step()


def state_bytes(optimizer) -> int:
    tensors = optimizer_tensors(optimizer)
    return sum(t.numel() * t.element_size() for n, t in tensors.items() if not n.endswith("/step"))


@pytest.mark.parametrize("codes", [_first_codes(), _second_codes()])
def test_there_are_256_codes_in_order(codes):
    assert codes.shape == (256,)
    assert (codes.diff() >= 0).all()
    assert float(codes.abs().max()) == 1.0
    assert 0.0 in codes


def test_zero_is_the_code_that_a_state_begins_with():
    assert _first_codes()[127] == 0
    assert _second_codes()[0] == 0


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 3 * BLOCK),
    scale=st.floats(-12, 4).map(lambda power: 10.0**power),
)
def test_a_value_becomes_a_neighbouring_code(seed, count, scale):
    generator = torch.Generator().manual_seed(seed)
    codes = _first_codes()
    values = scale * torch.randn(count, generator=generator)
    packed, scales = quantise(values, codes, generator)
    assert packed.dtype == torch.uint8
    assert scales.shape == (-(-count // BLOCK),)
    found = dequantise(packed, scales, codes)
    each = scales.repeat_interleave(BLOCK)[:count]
    step = 10 ** (5 / 126)
    assert (found.abs() <= values.abs() * step * 1.001 + 1.001e-5 * each).all()
    assert (found.abs() >= values.abs() / step * 0.999 - 1.001e-5 * each).all()
    assert ((found == 0) | (found.sign() == values.sign())).all()


@pytest.mark.parametrize("signed", [True, False])
def test_rounding_has_no_bias(signed):
    codes = _first_codes() if signed else _second_codes()
    values = torch.rand(BLOCK, generator=torch.Generator().manual_seed(0)) ** 3
    values = values - 0.2 if signed else values
    mean = torch.stack(
        [
            dequantise(*quantise(values, codes, torch.Generator().manual_seed(seed)), codes)
            for seed in range(2000)
        ]
    ).mean(0)
    torch.testing.assert_close(mean, values, rtol=0.008, atol=1e-5)


def test_blocks_of_zeros_stay_zero():
    packed, scales = quantise(torch.zeros(300), _first_codes(), torch.Generator())
    assert torch.equal(dequantise(packed, scales, _first_codes()), torch.zeros(300))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_descends_as_torchs_does(seed):
    ends = {}
    for moments in ("fp32", "8bit"):
        network, loss = toy(seed)
        with torch.no_grad():
            before = float(loss(10_000, 4096))
        train(
            adamw(network.parameters(), lr=3e-3, moments=moments, weight_decay=1e-2), loss, 0, 400
        )
        with torch.no_grad():
            ends[moments] = float(loss(10_000, 4096))
    assert ends["fp32"] < before / 4
    assert ends["8bit"] == pytest.approx(ends["fp32"], rel=0.08)


def test_the_first_step_is_torchs():
    for size in (3, BLOCK + 7):
        found = []
        for kind in ("fp32", "8bit"):
            p = nn.Parameter(torch.linspace(-1, 1, size))
            p.grad = torch.linspace(-2, 3, size) ** 3
            adamw([p], lr=0.1, moments=kind, weight_decay=0.3).step()
            found.append(p.detach())
        torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("moments", ["8bit", "cpu"])
def test_the_order_of_memory_does_not_matter(moments):
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        generator = torch.Generator().manual_seed(0)
        p = nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator).to(memory_format=layout))
        optimizer = adamw([p], lr=0.1, moments=moments)
        for _ in range(3):
            p.grad = torch.randn(8, 4, 3, 3, generator=generator).to(memory_format=layout)
            optimizer.step()
        assert p.is_contiguous(memory_format=layout)
        found.append(p.detach().contiguous())
    assert torch.equal(*found)


def test_a_rare_gradient_never_makes_a_large_step():
    """A second moment that rounded to zero would divide by nothing."""
    p = nn.Parameter(torch.zeros(BLOCK))
    optimizer = adamw([p], lr=1e-3, moments="8bit")
    for step in range(60):
        p.grad = torch.full((BLOCK,), 1e-3)
        p.grad[step % 5] = 1e3
        before = p.detach().clone()
        optimizer.step()
        assert float((p.detach() - before).abs().max()) < 5e-3


def test_the_second_moment_follows_gradients_that_fall():
    """Rounding to the nearest code would keep it where it was: it moves a thousandth a step."""
    p = nn.Parameter(torch.zeros(BLOCK))
    optimizer = BlockwiseAdamW([p], lr=1e-3)
    scale = torch.ones(BLOCK)
    for step in range(3000):
        if step == 300:
            scale[1:] = 0.3
        p.grad = scale
        optimizer.step()
    state = optimizer.state[p]
    second = dequantise(state["second"], state["second_scale"], _second_codes())
    weight = 0.999**2700
    expected = weight * (1 - 0.999**300) + (1 - weight) * 0.09
    assert float(second[1:].mean()) == pytest.approx(expected, rel=0.1)


def test_states_take_a_quarter_of_the_bytes():
    sizes = {}
    for moments in ("fp32", "8bit"):
        network = nn.Linear(300, 400)
        optimizer = adamw(network.parameters(), lr=1e-3, moments=moments)
        network(torch.randn(2, 300)).sum().backward()
        optimizer.step()
        sizes[moments] = state_bytes(optimizer)
        count = sum(p.numel() for p in network.parameters())
        assert sizes[moments] == pytest.approx(count * BYTES_PER_NUMBER[moments], rel=0.01)
    assert sizes["8bit"] < 0.26 * sizes["fp32"]


@pytest.mark.parametrize("moments", ["8bit", "cpu"])
def test_goes_on_bit_for_bit_from_a_saved_state(tmp_path, moments):
    network, loss = toy()
    optimizer = adamw(network.parameters(), lr=3e-3, moments=moments, weight_decay=1e-2)
    train(optimizer, loss, 0, 20)
    save_state(tmp_path, TrainingState(tensors=optimizer_tensors(optimizer), values={}))
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    train(optimizer, loss, 20, 40)

    again, loss = toy()
    again.load_state_dict(weights)
    resumed = adamw(again.parameters(), lr=3e-3, moments=moments, weight_decay=1e-2)
    saved = load_state(tmp_path)
    assert saved is not None
    restore_optimizer(resumed, saved.tensors)
    train(resumed, loss, 20, 40)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    tensors = optimizer_tensors(resumed)
    for name, value in optimizer_tensors(optimizer).items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value), name


@pytest.mark.parametrize("moments", ["8bit", "cpu"])
def test_half_precision_is_refused(moments):
    with pytest.raises(ValueError, match="bfloat16"):
        adamw([nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))], lr=1e-3, moments=moments)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
@pytest.mark.parametrize("size", [1, 9, 100])
def test_moments_in_the_hosts_memory_give_torchs_numbers(monkeypatch, weight_decay, size):
    """Bit for bit, and slice by slice: slices of 16 numbers, with a rest."""
    monkeypatch.setattr(optimizers, "SLICE", 16)
    weights, states = [], []
    for moments in ("fp32", "cpu"):
        torch.manual_seed(0)
        p = nn.Parameter(torch.randn(size, 3))
        frozen = nn.Parameter(torch.randn(4))
        optimizer = adamw([p, frozen], lr=1e-2, moments=moments, weight_decay=weight_decay)
        for step in range(20):
            p.grad = torch.randn(size, 3) * 10.0 ** (step % 5 - 2)
            optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
            optimizer.step()
        assert list(optimizer.state) == [p]
        weights.append(p.detach())
        states.append(optimizer_tensors(optimizer))
    assert torch.equal(*weights)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_moments_stay_in_the_hosts_memory_while_weights_are_elsewhere(monkeypatch):
    """On a device that does not exist: torch's fake one refuses to mix devices, as a GPU does."""
    seen = []

    def update(weights, slopes, firsts, seconds, *rest, **numbers):
        seen.extend(t.device.type for t in (*weights, *slopes, *firsts, *seconds))
        weights[0].add_(slopes[0]).add_(firsts[0]).add_(seconds[0])

    monkeypatch.setattr(optimizers, "torch_adamw", update)
    with FakeTensorMode():
        p = nn.Parameter(torch.zeros(7, 5, device="cuda"))
        optimizer = adamw([p], lr=1e-2, moments="cpu")
        for turn in range(2):
            p.grad = torch.ones(7, 5, device="cuda")
            optimizer.step()
            for name in ("exp_avg", "exp_avg_sq"):
                kept = optimizer.state[p][name]
                assert (kept.device.type, kept.dtype, kept.shape) == ("cpu", torch.float32, p.shape)
            if turn == 0:  # as a run does that goes on
                saved = {name: value.clone() for name, value in optimizer.state[p].items()}
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": {0: saved}, "param_groups": groups})
    assert seen == 8 * ["cuda"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_moments_in_the_hosts_memory_give_a_gpus_numbers():
    weights = []
    for moments in ("fp32", "cpu"):
        torch.manual_seed(0)
        p = nn.Parameter(torch.randn(300, 70).cuda())
        optimizer = adamw([p], lr=1e-2, moments=moments, weight_decay=1e-2)
        for _ in range(10):
            p.grad = torch.randn(300, 70).cuda()
            optimizer.step()
        weights.append(p.detach().cpu())
    assert optimizer.state[p]["exp_avg"].is_pinned()
    torch.testing.assert_close(*weights, rtol=0, atol=1e-7)


def test_without_decay_it_is_adam():
    found = []
    for make in (torch.optim.Adam, torch.optim.AdamW):
        network, loss = toy()
        options = {} if make is torch.optim.Adam else {"weight_decay": 0.0}
        train(make(network.parameters(), lr=1e-3, foreach=True, **options), loss, 0, 30)
        found.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*found)
