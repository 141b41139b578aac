"""Several seeds at once: as many as asked for, each on its own, ended together."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from fakes.study_commands import SIZES, install
from rlco_trainer.studies import cli
from rlco_trainer.studies.cli import StudyCommand
from rlco_trainer.studies.jobs import at_once, interrupted_by_sigterm
from rlco_trainer.studies.results import read_csv
from rlco_trainer.studies.steps import Children, StepFailedError, Steps, execute, read_journal

PATIENCE_S = 180.0


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures have tests of their own."""
    monkeypatch.setattr(cli, "draw", lambda chosen, rows, path: path.write_bytes(b"PNG"))


def test_as_many_run_at_once_as_there_are_jobs():
    together, lock, most, running = threading.Barrier(2), threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        together.wait(PATIENCE_S)
        with lock:
            running -= 1
        return 10 * number

    assert at_once(work, (1, 2, 3, 4), 2, Children()) == [10, 20, 30, 40]
    assert most == 2


def test_one_job_is_no_thread_and_stops_at_the_first_failure():
    done = []

    def work(number: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        done.append(number)
        raise StepFailedError("no")

    with pytest.raises(StepFailedError, match=r"^no$"):
        at_once(work, (1, 2), 1, Children())
    assert done == [1]


def test_one_that_fails_does_not_stop_the_others_and_is_named():
    done = []

    def work(number: int) -> None:
        if number != 2:
            raise StepFailedError(f"bad {number}")
        done.append(number)

    with pytest.raises(StepFailedError, match=r"^seed 1: bad 1; seed 3: bad 3$"):
        at_once(work, (1, 2, 3), 2, Children())
    assert done == [2]


def test_sigterm_ends_every_command_that_runs(tmp_path):
    """The last thread to have its command running sends the signal, as a scheduler would."""
    started, begun = threading.Semaphore(0), []
    code = "import signal; print('up', flush=True); signal.pause()"

    class Noticed(Children):
        def process(self, words, **options):
            started.release()
            return super().process(words, **options)

    children = Noticed()

    def work(number: int) -> None:
        log = tmp_path / f"{number}.log"
        begun.append(number)
        execute([sys.executable, "-c", code], log, children, shown=False)

    def send() -> None:
        for _ in range(2):
            assert started.acquire(timeout=PATIENCE_S)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    before = signal.getsignal(signal.SIGTERM)
    sender.start()
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        at_once(work, (1, 2, 3), 2, children)
    sender.join(PATIENCE_S)
    assert signal.getsignal(signal.SIGTERM) == before
    assert sorted(begun) == [1, 2], "the third was never started"
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    with pytest.raises(StepFailedError, match="interrupted"), children.process(["true"]):
        pytest.fail("nothing starts after the end")


def test_a_named_sequence_shows_one_line_a_step_and_keeps_the_rest(tmp_path, capfd):
    steps = Steps(tmp_path, {}, name="seed 4")
    steps.run("one", "First", [sys.executable, "-c", "print('chatter')"])
    steps.run("one", "First", [sys.executable, "-c", "print('chatter')"])
    told = capfd.readouterr().out
    assert told.startswith("seed 4, 0:")
    assert told.endswith(": First\n")
    assert told.count("\n") == 1
    assert (tmp_path / "logs/one.log").read_text() == "chatter\n"


def test_a_study_with_jobs_ends_with_the_same_results_and_journals(monkeypatch, tmp_path, capsys):
    fake = install(monkeypatch, lambda run, task: 0.5 if task == "push_cube" else 1.0)
    for jobs in (1, 2):
        fake.commands.clear()
        out = tmp_path / str(jobs)
        StudyCommand(name="sim-init", out=out, seeds=(3, 4), jobs=jobs, sizes=SIZES).run()
    one, two = tmp_path / "1", tmp_path / "2"
    assert read_csv(one / "sim-init/results.csv") == read_csv(two / "sim-init/results.csv")
    for seed in ("seed-3", "seed-4"):
        steps = [set(read_journal(out / seed)["steps"]) for out in (one, two)]
        assert steps[0] == steps[1]
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("seed 3, 0:") for line in lines)
    assert any(line.startswith("seed 4, 0:") for line in lines)
    fake.commands.clear()
    StudyCommand(name="sim-init", out=two, seeds=(3, 4), jobs=2, sizes=SIZES).run()
    assert fake.commands == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"jobs": 0}, "--jobs must be at least 1"),
        ({"seeds": (1, 1)}, "--seeds each named once"),
    ],
)
def test_what_cannot_run_at_once_is_refused(tmp_path, changed, message):
    with pytest.raises(StepFailedError, match=message):
        StudyCommand(name="beta", out=tmp_path, sizes=SIZES, **changed).run()
