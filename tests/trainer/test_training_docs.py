"""The page on training names functions that exist and commands that are understood."""

from __future__ import annotations

import re
import shlex
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name

import pytest
from rlco_trainer.cli import parse
from rlco_trainer.ppo import PpoConfig
from rlco_trainer.stage2_config import Stage2Config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/training.md").read_text(encoding="utf-8")


def named(cell: str) -> list[str]:
    return re.findall(r"`([a-z_0-9]+(?:\.[A-Za-z_0-9]+)+)`", cell)


def test_every_equation_names_functions_that_exist():
    table = PAGE.partition("## From equation to line")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    lines = [row[3] for row in rows if row[3].strip() != "line"]
    assert len(lines) > 15
    for cell in lines:
        names = named(cell)
        assert names, f"no line for an equation: {cell}"
        for name in names:
            assert callable(resolve_name(f"rlco_trainer.{name}")), name


def commands() -> list[str]:
    found = []
    for page in ("docs/training.md", "docs/models.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if line.startswith("rlco-train ")]
    return found


@pytest.mark.parametrize("line", commands())
def test_every_command_is_understood(line):
    parse(shlex.split(line, comments=True)[1:])


def test_options_in_the_text_are_stage_twos():
    text = PAGE.partition("## Stage II")[2].partition("\n## ")[0]
    options = set(re.findall(r"`[^`]*--([a-z-]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    assert "accumulate" in options
    fields = {*Stage2Config.__dataclass_fields__, *PpoConfig.__dataclass_fields__}
    assert {name.replace("-", "_") for name in options} <= fields


@pytest.mark.parametrize(
    ("name", "told"), [("gamma", "0.97"), ("epochs", "6 epochs"), ("learning_rate", "1e-4")]
)
def test_numbers_that_differ_from_the_papers_are_ours(name, told):
    paragraph = PAGE.partition("Numbers that differ from the paper")[2].partition("\n\n")[0]
    assert told in paragraph
    assert float(told.split()[0]) == attrgetter(name)(PpoConfig())
