"""Whole graphs over real DDS on a fake bench: collect, evaluate, and what goes wrong between."""

import json
import signal
import threading

import pytest
from rlco_datasets.contract import franka_compact
from ros_processes import NodeProcess, client, graph, nodes
from ros_studies import write_study
from scripted_server import ScriptedServer

pytestmark = pytest.mark.ros
CONTRACT = franka_compact()


@pytest.fixture
def bench_file():
    from rlco_calibration.twin import demo_bench

    return demo_bench()


@pytest.fixture
def server(ros):
    made = ScriptedServer(CONTRACT).start()
    yield made
    made.stop()


def test_collect_records_demonstrations_with_clean_labels(domain, tmp_path, bench_file):
    import numpy as np
    from rlco_calibration.initial_states import sample
    from rlco_calibration.twin import load_twin
    from rlco_datasets.store import EpisodeStore

    store_path = tmp_path / "demos.zarr"
    code, output = graph("collect", twin=bench_file, store=store_path, episodes=2, seed=3)
    assert code == 0, output
    assert "2 of 2 episodes committed" in output
    store = EpisodeStore.open(store_path, contract=CONTRACT)
    assert len(store) == 2
    twin = load_twin(bench_file)
    for index in range(2):
        metadata = store.metadata(index)
        assert (metadata.source, metadata.operator) == ("real", "scripted_expert")
        assert metadata.flags == ()
        assert metadata.instruction == twin.task("pick_and_place").instruction
        rng = np.random.default_rng([3, index])
        name = metadata.initial_condition.name
        assert metadata.initial_condition == sample(twin, "pick_and_place", rng, name)
        episode = store.episode(index)
        steps = episode.images["third_person"][:, 32, 32, 0].astype(int)
        np.testing.assert_array_equal(steps, np.arange(len(episode)))  # no frame lost or doubled
        for stream, stamps in episode.stamps_ns.items():
            np.testing.assert_array_equal(stamps, episode.stamps_ns["step"], err_msg=stream)
        # The first label starts at the measured pose; noise shows in where the arm went instead.
        moved = np.diff(episode.state[:, :3], axis=0)
        difference = np.abs(moved - episode.actions[:-1, :3])
        assert difference.max() > 0.002


def test_a_study_is_run_to_its_end(domain, tmp_path, bench_file, server):
    from rlco_evaluation.ledger import Ledger

    study = write_study(tmp_path / "study.yaml", CONTRACT, codes=("A", "B"), solved_after=(3, None))
    ledger_path = tmp_path / "out" / "ledger.jsonl"
    code, output = graph(
        "eval",
        twin=bench_file,
        study=tmp_path / "study.yaml",
        ledger=ledger_path,
        server=server.url,
        frames=tmp_path / "frames",
    )
    assert code == 0, output
    ledger = Ledger.open(ledger_path, study)
    assert ledger.remaining(study) == ()
    assert len(ledger.trials) == 4
    for record in ledger.trials:
        solvable = "solved-after-3" in record.condition
        assert record.success == solvable
        assert record.steps == (3 if solvable else 20)
        assert record.milestone == ("success" if solvable else "")
        assert record.policy_id == record.code
        frames = sorted((ledger_path.parent / record.frames).glob("*.jpg"))
        # One at every fourth step; the one after the last step may come too late.
        assert len(frames) in ((1, 2) if solvable else (5, 6))
    assert {session.rsplit("-", 2)[0] for session in server.sessions} == {"lab"}


def test_a_server_that_dies_costs_one_void_attempt_and_no_trial(
    domain, tmp_path, bench_file, server
):
    from rlco_evaluation.ledger import Ledger

    study = write_study(tmp_path / "study.yaml", CONTRACT, solved_after=(8, 8), time_limit_s=4.0)
    ledger_path = tmp_path / "ledger.jsonl"
    died = threading.Event()
    reply = server.reply

    def reply_then_die(request):
        if "-1-1" in request.session and request.step >= 4 and not died.is_set():
            died.set()
            threading.Thread(target=restart).start()
            raise ConnectionAbortedError
        return reply(request)

    def restart():
        server.stop()
        server.release.clear()
        server.start()

    server.reply = reply_then_die
    code, output = graph(
        "eval",
        twin=bench_file,
        study=tmp_path / "study.yaml",
        ledger=ledger_path,
        server=server.url,
    )
    assert code == 0, output
    assert died.is_set()
    ledger = Ledger.open(ledger_path, study)
    told = [(r.index, r.status, r.success) for r in ledger.trials]
    assert told == [(0, "done", True), (1, "void", None), (1, "done", True)]
    assert "policy server" in ledger.trials[1].reason or "sent" in ledger.trials[1].reason


def test_a_server_that_is_down_uses_up_no_attempt_and_the_run_continues_later(
    domain, tmp_path, bench_file, server
):
    from rlco_evaluation.ledger import Ledger

    study = write_study(tmp_path / "study.yaml", CONTRACT, solved_after=(3,))
    values = {
        "twin": bench_file,
        "study": tmp_path / "study.yaml",
        "ledger": tmp_path / "ledger.jsonl",
        "server": server.url,
    }
    server.stop()
    code, output = graph("eval", patience_s=6.0, **values)
    assert code == 1
    assert "no policy server at" in output
    assert "the same command continues" in output
    assert Ledger.open(values["ledger"], study).trials == ()
    server.start()
    code, output = graph("eval", **values)
    assert code == 0, output
    assert [r.status for r in Ledger.open(values["ledger"], study).trials] == ["done"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_every_node_ends_with_0_on_a_signal(domain, tmp_path, bench_file, server, number):
    from rlco_evaluation.ledger import Ledger

    study = write_study(tmp_path / "study.yaml", CONTRACT, solved_after=(None,), time_limit_s=1e5)
    parameters = {
        "fake_scene": {"twin": str(bench_file)},
        "rlco.nodes.guard": {"max_step_m": 0.05, "max_step_rad": 0.2},
        "rlco.nodes.recorder": {"store": str(tmp_path / "store")},
        # Alone it waits for a second listener, so that no episode is run here.
        "rlco.nodes.expert_teleop": {"bench": str(bench_file), "label_topic": "nobody/listens"},
        "rlco.nodes.policy": {"server": server.url},
        "rlco.nodes.evaluation": {
            "study": str(tmp_path / "study.yaml"),
            "ledger": str(tmp_path / "ledger.jsonl"),
        },
    }
    started = [NodeProcess(module, values, tmp_path) for module, values in parameters.items()]
    with nodes(*started) as running:
        names = {"sim_lab", "guard", "recorder", "expert_teleop", "policy", "eval"}
        with client() as watcher:
            watcher.until(
                lambda: names <= set(watcher.node.get_node_names()), "every node to be there"
            )
            ended = [item for item in running if item.process.poll() is not None]
            assert not ended, "".join(item.output for item in ended)
            watcher.until(lambda: server.sessions, "a trial to be under way")
        for item in running:
            item.process.send_signal(number)
        codes = {item.name: item.wait() for item in running}
    assert codes == dict.fromkeys(codes, 0), "".join(item.output for item in running)
    assert not list(tmp_path.rglob("*.partial"))
    ledger = Ledger.open(tmp_path / "ledger.jsonl", study, mode="a")
    assert [(r.status, r.reason[:11]) for r in ledger.trials] == [("void", "interrupted")]


def test_a_ledger_of_another_study_is_refused(domain, tmp_path, bench_file, server):
    write_study(tmp_path / "study.yaml", CONTRACT)
    other = write_study(tmp_path / "other.yaml", CONTRACT, name="other")
    from rlco_evaluation.ledger import Ledger

    Ledger.open(tmp_path / "ledger.jsonl", other, mode="a").close()
    parameters = {
        "study": str(tmp_path / "study.yaml"),
        "ledger": str(tmp_path / "ledger.jsonl"),
    }
    with nodes(NodeProcess("rlco.nodes.evaluation", parameters, tmp_path)) as (process,):
        assert process.wait() == 1
        assert "belongs to study" in process.output
    assert json.loads((tmp_path / "ledger.jsonl").read_text())["study_name"] == "other"
