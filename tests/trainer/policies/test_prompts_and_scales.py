"""Tokenizers, prompts, quantile scaling and image slots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rlco_datasets.contract import franka_compact, franka_third_person
from rlco_trainer.policies.pi05.prompt import discretised, pi0_prompts, pi05_prompts
from rlco_trainer.policies.quantiles import QuantileScale
from rlco_trainer.policies.tokenizers import (
    FIRST_NUMBER,
    TokenizerError,
    WordTokenizer,
    load_tokenizer,
    order_numbers,
    padded,
    without_padding,
)
from rlco_trainer.policies.vision import image_size, slots_of, stacked_pixels


class TestTokenizers:
    def test_ids_never_change(self):
        assert WordTokenizer(512).encode("Pick up 7, 255!") == [1, 398, 471, 9, 372, 257, 427]

    @given(st.text())
    def test_ids_stay_inside_the_vocabulary(self, text):
        ids = WordTokenizer(400).encode(text)
        assert ids[0] == 1
        assert all(1 <= i < 400 for i in ids)

    def test_numbers_of_a_state_have_ids_of_their_own(self):
        ids = [WordTokenizer(512).encode(str(n))[1] for n in range(256)]
        assert ids == [FIRST_NUMBER + n for n in range(256)]

    def test_neighbouring_numbers_start_alike_and_the_size_stays(self):
        torch.manual_seed(0)
        table = torch.randn(300, 64)
        before = table.clone()
        order_numbers(table, FIRST_NUMBER)
        assert torch.equal(table[:2], before[:2])
        assert torch.equal(table[258:], before[258:])
        numbers = table[2:258]
        assert float(numbers.square().mean()) == pytest.approx(1, rel=0.1)
        steps = [float((numbers[k:] - numbers[:-k]).norm(dim=1).mean()) for k in (1, 8, 64)]
        assert steps[0] < 0.3 * steps[1] < 0.3 * steps[2]

    def test_cutting_padding_keeps_every_token(self):
        tokens, mask = padded([[5, 6], [7, 8, 9]], 6, left=False)
        cut = without_padding({"tokens": tokens, "token_mask": mask, "state": mask})
        assert cut["tokens"].tolist() == [[5, 6, 0], [7, 8, 9]]
        assert cut["token_mask"].tolist() == [[True, True, False], [True] * 3]
        assert cut["state"] is mask

    def test_a_tokenizer_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(TokenizerError, match=r"nowhere.*folder of a downloaded"):
            load_tokenizer(str(tmp_path / "nowhere"), words=1000, rows=1000)

    def test_a_real_tokenizer_loads_from_a_folder(self, tmp_path):
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {"<s>": 0, "<unk>": 1, "pick": 2, "up": 3}
        inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(
            tokenizer_object=inner, bos_token="<s>", unk_token="<unk>"
        ).save_pretrained(tmp_path)
        assert load_tokenizer(str(tmp_path), words=4, rows=4).encode("pick up it") == [0, 2, 3, 1]
        with pytest.raises(TokenizerError, match="4 ids, the network 3"):
            load_tokenizer(str(tmp_path), words=3, rows=3)

    def test_padding_goes_where_it_is_asked_for(self):
        ids, mask = padded([[5, 6], [7, 8, 9]], 4, left=True)
        assert ids.tolist() == [[0, 0, 5, 6], [0, 7, 8, 9]]
        assert mask.tolist() == [[False, False, True, True], [False, True, True, True]]
        assert padded([[5, 6]], 3, left=False)[0].tolist() == [[5, 6, 0]]

    def test_a_text_that_is_too_long_is_refused_not_cut(self):
        with pytest.raises(TokenizerError, match="makes 3 tokens, and max_tokens is 2"):
            padded([[1, 2, 3]], 2, left=False)


class TestPrompts:
    def test_the_state_is_written_in_256_bins(self):
        state = np.array([[-1.0, 0.0, 0.999, 1.0, -1.2]], np.float32)
        assert discretised(state).tolist() == [[0, 128, 255, 255, -1]]
        assert pi05_prompts([" pick_up\nthe cube "], state) == [
            "Task: pick up the cube, State: 0 128 255 255 -1;\nAction: "
        ]

    def test_pi0_has_no_state_in_its_prompt(self):
        assert pi0_prompts(["pick up"]) == ["pick up\n"]


class TestQuantileScale:
    def test_is_the_public_formula(self):
        low, high = (-0.03, 0.1), (0.05, 0.4)
        scale = QuantileScale(low, high, floor=0.0, epsilon=1e-6)
        x = torch.tensor([[0.01, 0.3], [0.2, -1.0]])
        expected = (x - torch.tensor(low)) / (torch.tensor(high) - torch.tensor(low) + 1e-6) * 2 - 1
        torch.testing.assert_close(scale(x), expected)

    @given(st.floats(-1, 1), st.floats(0, 2), st.floats(-3, 3))
    def test_the_inverse_undoes_it(self, low, width, value):
        scale = QuantileScale((low,), (low + width,), floor=0.01, epsilon=1e-6)
        x = torch.tensor([value], dtype=torch.float32)
        torch.testing.assert_close(scale.inverse(scale(x)), x, rtol=1e-4, atol=1e-4)

    def test_a_dimension_that_hardly_moves_is_not_blown_up(self):
        scale = QuantileScale((0.1,), (0.1,), floor=0.02, epsilon=1e-6)
        assert float(scale(torch.tensor([0.1]))) == pytest.approx(0, abs=1e-4)
        assert abs(float(scale(torch.tensor([0.101])))) < 0.11


class TestImages:
    def test_slots_name_each_camera_once(self):
        contract = franka_compact()
        assert slots_of(contract, ()) == ("third_person",)
        assert slots_of(contract, ("", "third_person", "")) == ("third_person",)
        with pytest.raises(ValueError, match="wrist"):
            slots_of(contract, ("third_person", "wrist"))

    def test_pixels_are_scaled_to_one(self):
        image = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
        image[0, 1, 2, 0] = 255
        pixels = stacked_pixels([image, image])
        assert pixels.shape == (1, 2, 3, 4, 4)
        assert float(pixels[0, 1, 0, 1, 2]) == 1
        assert float(pixels.min()) == -1

    def test_images_of_two_sizes_are_refused(self):
        contract = franka_third_person()
        assert image_size(contract) == 224
        wrist = replace(contract.cameras[0], name="wrist", width=112, height=112)
        with pytest.raises(ValueError, match=r"112.*224"):
            image_size(replace(contract, cameras=(*contract.cameras, wrist)))
