"""The stem of the tiny presets: trained on its own, handed on, frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.episodes import make_store
from rlco_datasets.contract import franka_compact
from rlco_trainer.checkpoint import load_policy
from rlco_trainer.cli import main
from rlco_trainer.data import DataError, tensors
from rlco_trainer.policies.interface import Observation
from rlco_trainer.policies.pi05.config import VisionConfig
from rlco_trainer.policies.presets import new_policy
from rlco_trainer.run_folder import read_metrics
from rlco_trainer.stage1 import Stage1Config, Stage1Run, run_stage1
from rlco_trainer.stem_regression import StemRegression, required_stem
from rlco_trainer.training_state import load_state, save_state
from rlco_trainer.untrained import nominal_normalisation, write_untrained

SMALL = {"steps": 4, "batch": 8, "threads": 1, "log_every": 1, "alpha": 0.0}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("stores")
    make_store(folder / "real", franka_compact(), (12, 9))
    return str(folder / "real")


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("init")
    write_untrained("pi05-tiny", franka_compact(), folder / "pi05", 0)
    return str(folder / "pi05")


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a checkpoint's tensors: the stem's, the others."""
    policy = load_policy(path).policy
    stem = policy.stem()
    assert stem is not None
    mine = {id(p) for p in stem.parameters()}
    named = dict(policy.named_parameters())
    return (
        dict(stem.named_parameters()),
        {name: p for name, p in named.items() if id(p) not in mine},
    )


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_is_trained_alone_then_handed_to_the_other_family_and_kept(real, start, tmp_path):
    config = Stage1Config(init=start, real=(real,), objective="stem", held_out=0.4, **SMALL)
    run_stage1(config, tmp_path / "stem")
    before, after = parts(Path(start)), parts(tmp_path / "stem/checkpoint")
    assert not any(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert same(before[1], after[1])
    assert all("held_out_loss" in row for row in read_metrics(tmp_path / "stem"))

    stem = ["--stem", str(tmp_path / "stem/checkpoint")]
    main(["init", "--preset", "openvla-tiny", *stem, "--out", str(tmp_path / "tokens")])
    handed = parts(tmp_path / "tokens")
    assert same(after[0], handed[0])
    frozen = Stage1Config(init=str(tmp_path / "tokens"), real=(real,), freeze_stem=True, **SMALL)
    run_stage1(frozen, tmp_path / "stage1")
    trained = parts(tmp_path / "stage1/checkpoint")
    assert same(trained[0], handed[0])
    assert not same(trained[1], handed[1])
    assert load_policy(tmp_path / "stage1/checkpoint").card.normalisation.count > 1


@pytest.mark.parametrize("changes", [{"objective": "stem"}, {"freeze_stem": True}])
def test_a_run_goes_on_bit_for_bit(real, start, tmp_path, changes):
    config = Stage1Config(init=start, real=(real,), **changes, **SMALL)
    whole, first = Stage1Run(config), Stage1Run(config)
    for _ in range(4):
        whole.update()
    for _ in range(2):
        first.update()
    save_state(tmp_path, first.state())
    again, saved = Stage1Run(config), load_state(tmp_path)
    assert saved is not None
    again.restore(saved)
    for _ in range(2):
        again.update()
    ends = [run.state().tensors for run in (whole, again)]
    assert any(name.startswith("learner/head") for name in ends[0]) == ("objective" in changes)
    assert ends[0].keys() == ends[1].keys()
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name


def test_kept_frames_are_what_the_frozen_stem_makes_of_those_drawn(real, start):
    config = Stage1Config(init=start, real=(real,), freeze_stem=True, stem_copies=0, **SMALL)
    run, same_draws = Stage1Run(config), Stage1Run(config).mixture
    features, actions, mask = run.draw()
    batch, counts = same_draws.next(config.batch)
    observation, expected_actions, expected_mask = tensors(batch)
    expected = run.policy.encode(observation)
    assert counts == {"real:0:pick_place": config.batch}
    assert features.keys() == expected.keys() == {"tokens", "token_mask", "stem/third_person"}
    assert torch.equal(actions, expected_actions)
    assert torch.equal(mask, expected_mask)
    for name, value in expected.items():
        torch.testing.assert_close(features[name], value, rtol=0, atol=1e-5)
    run.policy.stem_frozen = False
    images = run.policy.encode(observation)
    assert images.keys() == {"tokens", "token_mask", "image/third_person", "stem_state"}
    torch.manual_seed(0)
    loss = run.policy.sft_loss(features, actions, mask)["loss"]
    torch.manual_seed(0)
    with_images = run.policy.sft_loss(images, actions, mask)["loss"]
    torch.testing.assert_close(loss, with_images, rtol=0, atol=1e-5)


def test_copies_of_a_frame_are_of_the_same_step(real, start):
    config = Stage1Config(init=start, real=(real,), freeze_stem=True, **SMALL)
    run = Stage1Run(config)
    rows = {"real:0:pick_place": (np.arange(40), np.full(40, 3))}
    assert run.frozen is not None
    features, actions, _ = run.frozen.batch(rows, run.generator)
    assert len(features["stem/third_person"].unique(dim=0)) == 1 + config.stem_copies
    assert len(actions.unique(dim=0)) == len(features["tokens"].unique(dim=0)) == 1


def test_a_stem_says_where_things_are():
    """The keypoint of a channel that answers to one colour moves with that colour's blob."""
    torch.manual_seed(0)
    policy = new_policy("pi05-tiny", franka_compact(), nominal_normalisation(franka_compact()))
    stem = required_stem(policy)
    pixels = -torch.ones(2, 3, 64, 64)
    pixels[0, 0, 8:16, 8:16] = pixels[1, 0, 48:56, 40:48] = 1.0
    with torch.no_grad():
        maps, features = stem.read(pixels, torch.zeros(2, 10))
        summaries = stem(pixels, torch.zeros(2, 10))
    pictures = stem.picture(summaries)
    assert pictures.shape == (2, stem.out_channels, 4, 4)
    torch.testing.assert_close(pictures[:, :32], torch.nn.functional.avg_pool2d(maps, 4))
    assert torch.equal(pictures[:, 32:, 1, 2], features)
    assert maps.shape == (2, 32, 16, 16)
    assert features.shape == (2, stem.features)
    # one keypoint weighs the red map alone, and strongly: it must be near the blob's centre
    channel = int((maps[0].amax((1, 2)) - maps[0].median(-1).values.median(-1).values).argmax())
    with torch.no_grad():
        stem.keypoints.weight.zero_()
        stem.keypoints.weight[0, channel] = 1e4
        places = stem.read(pixels, torch.zeros(2, 10))[1]
    column, row = places[:, 0], places[:, 32]
    assert float(column[1] - column[0]) == pytest.approx((44 - 12) / 32, abs=0.3)
    assert float(row[1] - row[0]) == pytest.approx((52 - 12) / 32, abs=0.3)


@pytest.mark.parametrize("preset", ["pi05-tiny", "openvla-tiny"])
def test_what_a_stem_sees_and_the_state_go_together(preset):
    torch.manual_seed(0)
    policy = new_policy(preset, franka_compact(), nominal_normalisation(franka_compact())).eval()
    policy.freeze_stem()
    assert policy.uses_state
    seen = Observation(
        images={"third_person": torch.zeros(2, 64, 64, 3, dtype=torch.uint8)},
        state=torch.stack([torch.zeros(10), torch.full((10,), 0.3)]),
        instructions=("pick it up",) * 2,
    )
    features = policy.encode(seen)
    assert torch.equal(*features["tokens"])  # no numbers in the prompt
    one, other = features["stem/third_person"]
    joint = required_stem(policy).features
    assert torch.equal(one[:-joint], other[:-joint])
    assert not torch.equal(one[-joint:], other[-joint:])


def test_policies_without_a_stem_are_refused(real, tmp_path, capsys):
    contract = franka_compact()
    with pytest.raises(DataError, match="has no stem"):
        StemRegression(new_policy("compact", contract, nominal_normalisation(contract)))
    with pytest.raises(SystemExit):
        main(["stage1", "--real", real, "--alpha", "0", "--freeze-stem", "--out", str(tmp_path)])
    assert "freeze_stem needs a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("stem", [(16, 32), (16, 32, 0)])
def test_channels_that_are_not_three_positive_numbers_are_refused(stem):
    with pytest.raises(ValueError, match="three positive numbers"):
        VisionConfig(width=96, heads=4, patch=32, stem=stem)


def test_patches_that_the_stem_does_not_tile_are_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        VisionConfig(width=96, heads=4, patch=20, stem=(16, 32, 32))
