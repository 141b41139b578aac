from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from fakes.studies import FakeStudy, make_study, write_study
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rlco_datasets import spec
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.report import curves, document, frames, provenance, simulation, words
from rlco_evaluation.report.inputs import Artefact, Curve, ReportInputs, Simulation


@pytest.fixture(scope="module")
def html(finished: FakeStudy) -> str:
    return document.render(*document.load_inputs(finished.inputs))


def test_the_page_needs_nothing_else(html):
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(?!data:)[a-z/.#]""", html)
    assert "<script" not in html
    assert html.count("data:image/jpeg;base64,") == 18
    assert "@import" not in html


def test_the_page_says_what_went_in(html, finished):
    with Ledger.open(finished.ledger) as ledger:
        assert ledger.head[:16] in html
        assert ledger.header.study_id in html
    for text in ("real-only", "sft", "rl-co", "a simulated lab", "8f1d0c55aa10b2e3", "0" * 40):
        assert text in html
    assert "rlco-up eval" in html
    assert "the cube fell off the table" in html
    assert "second try &lt;held&gt;" in html, "notes are escaped"
    assert "186 / 200" in html


def test_a_blind_page_gives_no_label_away(finished):
    inputs = ReportInputs(study="study.yaml", ledger="ledger.jsonl")
    blind = document.render(inputs, finished.folder)
    assert not any(label in blind for label in ("real-only", "sft", "rl-co"))
    assert "blind: policies are shown by their codes" in blind
    sim = replace(inputs, simulations=(Simulation(label="sft", path="sim-sft.json"),))
    with pytest.raises(simulation.SimulationError, match="a blind report cannot"):
        document.render(sim, finished.folder)


def test_an_empty_ledger_and_one_policy_make_a_page(tmp_path):
    study = make_study(2, "A", milestones=())
    spec.save(study, tmp_path / "study.yaml")
    Ledger.open(tmp_path / "ledger.jsonl", study, mode="a").close()
    inputs = ReportInputs(study="study.yaml", ledger="ledger.jsonl")
    assert "Not finished: 0 of 2 trials done." in document.render(inputs, tmp_path)


def test_missing_frames_are_said_and_do_not_stop_the_report(tmp_path):
    files = write_study(tmp_path, conditions=4)
    for picture in tmp_path.glob("frames/*/*.png"):
        picture.unlink()
    html = document.render(*document.load_inputs(files.inputs))
    assert html.count("No picture strip: trial") == 3


def test_a_changed_checkpoint_is_pointed_out(tmp_path):
    files = write_study(tmp_path, conditions=4)
    inputs, folder = document.load_inputs(files.inputs)
    assert "has changed since" not in document.render(inputs, folder)
    (tmp_path / "runs" / "sft" / "policy.yaml").write_text("other")
    assert "The checkpoint of sft" in document.render(inputs, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "none.yaml"}, r"none\.yaml: cannot read this Study file"),
        ({"ledger": "none.jsonl"}, r"none\.jsonl: cannot open this ledger"),
        ({"artefacts": (Artefact(kind="store", name="x", path="no"),)}, "store 'x': nothing at no"),
        ({"curves": (Curve(label="x", path="no", scalars=("a",)),)}, "no: cannot read these"),
        (
            {"curves": (Curve(label="x", path="stage1.jsonl", scalars=("los",)),)},
            "no finite value of 'los'; it has loss",
        ),
        ({"simulations": (Simulation(label="x", path="sim-sft.json"),)}, "sim results for .'x'."),
    ],
)
def test_what_is_missing_is_named(finished, change, message):
    inputs, folder = document.load_inputs(finished.inputs)
    with pytest.raises(ValueError, match=message):
        document.render(replace(inputs, **change), folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"episodes": 40, "successes": 30, "outcomes": []}', (30, 40)),
        ('{"episodes": 40, "successes": 41}', "got 41 of 40"),
        ('{"episodes": 0, "successes": 0}', "got 0 of 0"),
        ('{"episodes": 40, "successes": 0.5}', "got 0.5 of 40"),
        ("[]", "got None of None"),
        ("{", "not JSON"),
    ],
)
def test_sim_results(tmp_path, text, expected):
    path = tmp_path / "sim.json"
    path.write_text(text)
    if isinstance(expected, str):
        with pytest.raises(simulation.SimulationError, match=expected):
            simulation.load(path)
    else:
        result = simulation.load(path)
        assert (result.successes, result.n) == expected


def test_metrics_skip_a_torn_line_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 0, "a": 1.0}, {"step": 1, "a": None}, {"step": 2, "a": float("nan"), "b": 3}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "a"')
    assert curves.read_metrics(path, ["a", "b"]) == {"a": [(0.0, 1.0)], "b": [(2.0, 3.0)]}
    path.write_text('{"a": 1}\n{"step": 3, "a": 1}\n')
    with pytest.raises(curves.CurveError, match="line 1: not a JSON object with a step"):
        curves.read_metrics(path, ["a"])


def test_curves_of_one_scalar_share_a_panel_and_keep_their_policys_colour(finished):
    listed = [
        Curve(label="rl-co", path="stage1.jsonl", scalars=("loss",)),
        Curve(label="other", path="stage1.jsonl", scalars=("loss",)),
    ]
    (panel,) = curves.panels(listed, finished.folder, {"sft": 0, "rl-co": 1})
    assert [(series.label, series.color) for series in panel.series] == [("rl-co", 1), ("other", 2)]
    assert all(len(series.raw.split()) <= curves.MAX_POINTS for series in panel.series)


@settings(deadline=None)
@given(low=st.floats(-1e6, 1e6), size=st.floats(0, 1e6))
def test_ticks_hold_the_range_and_are_few(low, size):
    ticks = curves.nice_ticks(low, low + size)
    slack = 1e-6 * max(1.0, abs(low), size)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + size - slack
    assert 2 <= len(ticks) <= 8


def test_frames_are_taken_from_first_to_last_in_natural_order(finished, tmp_path):
    for i in range(12):
        Image.new("RGB", (600, 300), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    with Ledger.open(finished.ledger) as ledger:
        record = ledger.trials[0]
    strip = frames.strip(record, tmp_path)
    assert len(strip.images) == frames.FRAMES_PER_STRIP
    assert len(set(strip.images)) == frames.FRAMES_PER_STRIP
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(frames.FrameError, match=r"0\.png: cannot read this frame"):
        frames.strip(record, tmp_path)


def test_provenance_knows_a_folder_by_its_contents(finished):
    row = provenance._row(Artefact(kind="run", name="r", path="runs"), finished.folder)
    assert re.fullmatch(r"[0-9a-f]{16}", row.hash)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["pick-07", "pick-08", "pick-10"], ["07", "08", "10"]),
        (["a1", "a10"], ["1", "10"]),
        (["left", "right"], ["left", "right"]),
        (["only"], ["only"]),
        (["near", "near edge"], ["near", " edge"]),
    ],
)
def test_columns_are_headed_by_what_differs(names, short):
    assert list(words.without_common_prefix(names).values()) == short
