"""The model store, and policies as the server calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.policies import make_request
from rlco_datasets.contract import Contract
from rlco_policy_server.batch import infer_batch, inputs_of
from rlco_policy_server.checkpoints import CheckpointLoader, add_to_store, load_checkpoints
from rlco_policy_server.checkpoints.torch_policy import TorchPolicy
from rlco_policy_server.model_store import ModelStore
from rlco_policy_server.policies import PolicySet, RealTimePolicy
from rlco_policy_server.references import CheckpointReferenceError
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.untrained import write_untrained
from torch import Tensor


@pytest.fixture
def checkpoint(tmp_path: Path, contract: Contract) -> tuple[Path, str]:
    folder = tmp_path / "checkpoint"
    return folder, write_untrained("compact", contract, folder, seed=0)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(folder=tmp_path / "models")


def test_a_checkpoint_is_found_by_name_and_hash(
    checkpoint: tuple[Path, str], store: ModelStore
) -> None:
    folder, checkpoint_id = checkpoint
    reference = add_to_store(store, folder, "sft")
    assert reference == f"sft@{checkpoint_id}"
    assert add_to_store(store, folder, "sft") == reference  # again: nothing happens
    assert store.list() == {"sft": [checkpoint_id]}
    loader = CheckpointLoader(model_store=store)
    for wanted in (reference, reference[:-8]):
        loaded = loader.load("A", wanted)
        assert (loaded.policy_id, loaded.alias, loaded.reference) == (checkpoint_id, "A", wanted)
    assert loader.load("A", str(folder)).policy_id == checkpoint_id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ref: ref[:7], "too short"),
        (lambda ref: "rlco" + ref[3:], "no checkpoints"),
        (lambda ref: ref[:4] + "0000000", "0 one of"),
        (lambda ref: "../" + ref, "does not exist"),
    ],
)
def test_a_reference_that_names_nothing_is_refused(
    checkpoint: tuple[Path, str], store: ModelStore, change: Callable[[str], str], says: str
) -> None:
    reference = add_to_store(store, checkpoint[0], "sft")
    with pytest.raises(CheckpointReferenceError, match=says):
        CheckpointLoader(model_store=store).load("A", change(reference))


def test_weights_exchanged_in_the_store_are_refused(
    checkpoint: tuple[Path, str], store: ModelStore, contract: Contract
) -> None:
    reference = add_to_store(store, checkpoint[0], "sft")
    write_untrained("compact", contract, store.find(reference)[0], seed=1)
    with pytest.raises(CheckpointReferenceError, match="not what its name says"):
        CheckpointLoader(model_store=store).load("A", reference)


def test_references_without_a_store_and_unusable_checkpoints_are_refused(
    tmp_path: Path, store: ModelStore, checkpoint: tuple[Path, str]
) -> None:
    with pytest.raises(CheckpointReferenceError, match="--model-store"):
        CheckpointLoader().load("A", "sft@0123456789")
    with pytest.raises(CheckpointReferenceError, match="does not exist"):
        add_to_store(store, tmp_path / "nothing", "sft")
    with pytest.raises(CheckpointReferenceError, match="name 'a/b'"):
        add_to_store(store, checkpoint[0], "a/b")
    with pytest.raises(CheckpointReferenceError, match=r"device .cuda:99."):
        CheckpointLoader(device="cuda:99").load("A", str(checkpoint[0]))
    assert store.list() == {}


def test_a_batch_gives_every_session_what_it_would_get_alone(
    checkpoint: tuple[Path, str], contract: Contract
) -> None:
    (served,) = load_checkpoints({"default": checkpoint[0]}, torch_threads=1)
    assert not isinstance(served.policy, RealTimePolicy)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 64, 64, 3), np.uint8)
    states = rng.normal(size=(5, 10)).astype(np.float32)
    words = ["push the cube", "open the drawer", "", "push the cube", "put it down"]
    together = served.policy.infer({"third_person": images}, states, words)
    direct = load_policy(checkpoint[0]).policy
    for i, one in enumerate(together):
        alone = direct.infer({"third_person": images[i : i + 1]}, states[i : i + 1], [words[i]])
        np.testing.assert_allclose(one, alone[0], atol=1e-5)


def test_a_compiled_policy_sees_few_sizes_and_answers_the_same(
    checkpoint: tuple[Path, str], contract: Contract
) -> None:
    policy = load_policy(checkpoint[0]).policy
    sizes: list[int] = []

    def compile_with(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def compiled(features: dict[str, Tensor]) -> Tensor:
            sizes.append(len(features["state"]))
            return function(features)

        return compiled

    compiled = TorchPolicy(policy, max_batch=6, compile_with=compile_with)
    inputs = inputs_of(make_request(contract), compiled)
    rng = np.random.default_rng(0)
    images = {"third_person": rng.integers(0, 255, (3, 64, 64, 3), np.uint8)}
    compiled.infer(inputs.images, inputs.state, ["warm up"])
    assert sizes == [1, 2, 4, 6, 1]  # every size once, then the request
    state = np.repeat(inputs.state, 3, axis=0)
    chunks = compiled.infer(images, state, ["a", "b", "c"])
    assert sizes[5:] == [4]
    np.testing.assert_allclose(chunks, policy.infer(images, state, ["a", "b", "c"]), atol=1e-5)


def test_half_precision_stays_close(checkpoint: tuple[Path, str], contract: Contract) -> None:
    exact, half = (
        CheckpointLoader(precision=precision).load("A", str(checkpoint[0])).policy
        for precision in ("fp32", "bf16")
    )
    inputs = inputs_of(make_request(contract), exact)
    chunks = [p.infer(inputs.images, inputs.state, ["push the cube"]) for p in (exact, half)]
    assert chunks[1].dtype == np.float32
    np.testing.assert_allclose(*chunks, atol=0.05)
    assert not np.array_equal(*chunks)


def test_a_flow_policy_continues_what_is_under_way(tmp_path: Path, contract: Contract) -> None:
    write_untrained("pi05-tiny", contract, tmp_path / "flow", 0)
    (served,) = load_checkpoints({"default": tmp_path / "flow"}, torch_threads=1)
    assert isinstance(served.policy, RealTimePolicy)
    running = np.zeros((3, 7), np.float32)
    running[:, 0], running[:, 6] = 0.02, 1.0
    request = make_request(contract, prefix=running, delay_s=0.2)
    inputs = [inputs_of(request, served.policy), inputs_of(make_request(contract), served.policy)]
    torch.manual_seed(0)
    continued, fresh = infer_batch(served, inputs)
    assert isinstance(continued, np.ndarray)
    assert isinstance(fresh, np.ndarray)
    error, before = (
        np.abs(chunk[:2, [0, 6]] - running[:2, [0, 6]]).mean() for chunk in (continued, fresh)
    )
    assert error < 0.7 * before  # untrained: steered towards what is under way, not equal to it
    (metadata,) = PolicySet([served]).metadata()
    assert metadata.real_time_chunking
    (metadata,) = PolicySet([served], blind=True).metadata()
    assert metadata.real_time_chunking is None
