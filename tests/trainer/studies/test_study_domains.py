"""No two runs of this machine share a ROS domain."""

import subprocess
import sys

import pytest
from rlco_trainer.studies import domains
from rlco_trainer.studies.domains import own_domain
from rlco_trainer.studies.steps import StepFailedError

HOLDER = """
from rlco_trainer.studies.domains import own_domain
with own_domain() as domain:
    print(domain, flush=True)
    input()
"""


def test_a_domain_is_held_against_other_processes_until_its_block_ends():
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        theirs = other.stdout.readline().strip()
        with own_domain() as first, own_domain() as second:
            assert len({theirs, first, second}) == 3
        with own_domain() as again:
            assert again == first
        other.kill()


def test_where_every_domain_is_taken_the_run_says_so(monkeypatch):
    with own_domain() as held:
        number = int(held.removeprefix("domain:="))
        monkeypatch.setattr(domains, "DOMAINS", range(number, number + 1))
        with pytest.raises(StepFailedError, match="are taken by other runs"), own_domain():
            raise AssertionError("the block was entered")
