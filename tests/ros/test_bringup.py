"""The description of the graphs, `rlco-up`, and the launch files over it."""

import importlib.util
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from rlco import bringup, parameters, up
from rlco.bringup import GRAPHS, ArgumentError, NodeSpec
from rlco.resources import data_file
from rlco_datasets.contract import franka_compact, franka_third_person
from ros_processes import children_of, client
from ros_studies import write_study

PACKAGE = Path(__file__).parents[2] / "ros_ws" / "src" / "rlco"


@pytest.fixture
def collect_values(tmp_path):
    return {"twin": str(tmp_path / "hidden.yaml"), "store": str(tmp_path / "store")}


@pytest.fixture
def eval_values(tmp_path):
    write_study(tmp_path / "study.yaml", franka_compact())
    return {
        "twin": str(tmp_path / "hidden.yaml"),
        "study": str(tmp_path / "study.yaml"),
        "ledger": str(tmp_path / "ledger.jsonl"),
        "server": "http://127.0.0.1:1",
    }


def values_of(name, collect_values, eval_values):
    """The arguments that a graph needs, and no other."""
    known = {argument.name for argument in GRAPHS[name].arguments}
    given = eval_values if name == "eval" else collect_values | {"folder": "calibration"}
    return {key: value for key, value in given.items() if key in known}


def by_name(nodes):
    return {node.name: node for node in nodes}


def test_collect_gives_each_node_its_own_parameters(collect_values):
    nodes = by_name(GRAPHS["collect"].nodes(collect_values | {"episodes": "7", "noise": "0"}))
    assert list(nodes) == ["sim_lab", "guard", "recorder", "expert_teleop"]
    assert nodes["expert_teleop"].parameters["episodes"] == 7
    assert nodes["expert_teleop"].parameters["noise"] == 0.0
    assert nodes["recorder"].parameters["store"] == collect_values["store"]
    label = nodes["recorder"].parameters["label_topic"]
    assert label == nodes["expert_teleop"].parameters["label_topic"] != ""
    # Only the lab may know the hidden twin, and it alone keeps real time in lock step.
    holders = [n for n, node in nodes.items() if collect_values["twin"] in node.parameters.values()]
    assert holders == ["sim_lab"]
    clocks = {name: node.parameters["use_sim_time"] for name, node in nodes.items()}
    assert clocks == {"sim_lab": False, "guard": True, "recorder": True, "expert_teleop": True}


def test_by_the_wall_clock_nobody_uses_simulated_time(collect_values):
    nodes = GRAPHS["collect"].nodes(collect_values | {"lock_step": "false"})
    assert not any(node.parameters["use_sim_time"] for node in nodes)
    assert not any(node.parameters["lock_step"] for node in nodes)


def test_eval_takes_task_and_workspace_from_study_and_bench(eval_values):
    from rlco_calibration.twin import demo_bench, load_twin

    nodes = by_name(GRAPHS["eval"].nodes(eval_values))
    assert nodes["sim_lab"].parameters["task"] == "pick_and_place"
    assert nodes["sim_lab"].parameters["image_every"] == franka_compact().executed_steps
    low_m = list(load_twin(demo_bench()).workspace.low_m)
    assert nodes["policy"].parameters["workspace_low_m"] == low_m


@pytest.mark.parametrize("name", GRAPHS)
def test_every_parameter_is_one_that_its_node_declares(name, collect_values, eval_values):
    kinds = {
        "sim_lab": parameters.SimLabParameters,
        "guard": parameters.GuardParameters,
        "recorder": parameters.RecorderParameters,
        "expert_teleop": parameters.OperatorParameters,
        "replay": parameters.ReplayParameters,
        "calibrate": parameters.CalibrateParameters,
        "capture": parameters.CaptureParameters,
        "policy": parameters.PolicyParameters,
        "eval": parameters.EvalParameters,
    }
    nodes = GRAPHS[name].nodes(values_of(name, collect_values, eval_values))
    assert len(by_name(nodes)) == len(nodes)
    assert any(node.main for node in nodes) == (name not in ("bringup", "calibrate"))
    for node in nodes:
        declared = parameters.describe(kinds[node.name])
        assert set(node.parameters) == set(declared) | {"use_sim_time"}
        assert all(text.endswith(".") for text in declared.values())
        assert importlib.util.find_spec(node.module)
        assert (PACKAGE / "scripts" / node.program).is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stroe": "x"}, "unknown argument 'stroe' of collect"),
        ({"store": None}, "argument 'store' must be given"),
        ({"store": ""}, "parameter 'store' must be set: Folder of the episode store"),
        ({"episodes": "many"}, "episodes must be a whole number, got 'many'"),
        ({"noise": "loud"}, "noise must be a number, got 'loud'"),
        ({"lock_step": "yes"}, "lock_step must be true or false, got 'yes'"),
        ({"contract": "franka"}, "contract 'franka' is neither one of"),
        ({"contract": "franka_third_person"}, "was made for contract"),
        ({"task": "juggle"}, "has no 'juggle' among its tasks"),
    ],
)
def test_a_wrong_argument_is_named(collect_values, changes, message):
    values = {k: v for k, v in (collect_values | changes).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        GRAPHS["collect"].nodes(values)


def test_a_study_of_another_contract_is_refused(eval_values, tmp_path):
    write_study(tmp_path / "study.yaml", franka_third_person())
    with pytest.raises(ArgumentError, match="not for 'franka_compact'"):
        GRAPHS["eval"].nodes(eval_values)


def test_a_calibration_by_hand_leaves_the_arm_to_the_operator(collect_values):
    values = {"twin": collect_values["twin"], "folder": "calibration"}
    by_hand = by_name(GRAPHS["calibrate"].nodes(values | {"rows": "7"}))
    assert list(by_hand) == ["sim_lab", "guard", "capture"]
    assert by_hand["capture"].parameters["rows"] == 7
    assert by_hand["guard"].parameters["initial_source"] == "teleop"
    alone = by_name(GRAPHS["calibrate"].nodes(values | {"automatic": "true", "captures": "9"}))
    assert list(alone) == ["sim_lab", "guard", "calibrate"]
    assert alone["calibrate"].parameters["captures"] == 9
    assert alone["guard"].parameters["initial_source"] == "none"


def test_the_environment_keeps_what_is_set(monkeypatch):
    pytest.importorskip("ament_index_python")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/jazzy")
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    made = bringup.environment({"domain": "7"})
    assert made["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"
    assert made["AMENT_PREFIX_PATH"] == f"/opt/ros/jazzy:{sys.prefix}"
    assert made["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert made["ROS_DOMAIN_ID"] == "7"
    assert "ROS_DOMAIN_ID" not in bringup.environment({"domain": ""})


def test_the_dds_profile_has_room_for_a_camera_frame():
    space = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
    root = ET.parse(data_file("config/dds.xml")).getroot()
    segment = int(root.find(f".//{space}segment_size").text)
    assert segment > 8 * 640 * 480 * 3
    assert int(root.find(f".//{space}maxMessageSize").text) > 640 * 480 * 3
    assert root.find(f".//{space}address").text == "127.0.0.1"


def test_show_args_reads_like_documentation(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["rlco-up", "collect", "--show-args"])
    up.main()
    shown = capsys.readouterr().out
    for argument in GRAPHS["collect"].arguments:
        assert f"    {argument.name}  (" in shown
        assert argument.description in shown
    assert "store  (required)" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fly"],
            "unknown graph 'fly'; there are ['bringup', 'calibrate', 'collect', 'eval', 'replay']",
        ),
        (["collect", "store=x"], "expected key:=value, got 'store=x'"),
        (["collect"], "argument 'store' must be given"),
        (["collect", "store:=x"], "argument 'twin' must be given"),
        (["eval", "twin:=t", "study:=/no/study.yaml", "ledger:=l", "server:=s"], "/no/study.yaml"),
    ],
)
def test_up_refuses_a_wrong_command_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["rlco-up", *words])
    with pytest.raises(SystemExit) as exit_info:
        up.main()
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def scripted_graph(tmp_path, monkeypatch, **scripts):
    """A graph of plain Python modules; the main one is called `main`."""
    for name, text in scripts.items():
        (tmp_path / f"node_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    specs = tuple(
        NodeSpec(name=n, module=f"node_{n}", parameters={"a": 1}, main=n == "main") for n in scripts
    )
    return replace(GRAPHS["collect"], name="test", arguments=(), build=lambda _: specs)


FOREVER = """
import signal, sys
signal.signal(signal.SIGINT, lambda *a: (print('bye'), sys.exit(0)))
print('up', flush=True)
while True: signal.pause()
"""


@pytest.mark.parametrize("code", [0, 3])
def test_up_ends_with_the_main_nodes_exit_code(tmp_path, monkeypatch, capfd, code):
    pytest.importorskip("ament_index_python")
    main = f"import sys; print(sys.argv[2:4]); sys.exit({code})"
    graph = scripted_graph(tmp_path, monkeypatch, main=main, other=FOREVER)
    assert up.run(graph, {}) == code
    assert "[main] ['--params-file'," in capfd.readouterr().out


def test_up_reports_a_node_that_died_and_stops_the_others(tmp_path, monkeypatch, capfd):
    pytest.importorskip("ament_index_python")
    wait = (
        "\nimport pathlib, time\nwhile not pathlib.Path(__file__).with_name('go').exists(): pass\n"
    )
    ready = FOREVER.replace("print('up'", "open(__file__[:-12] + 'go', 'w'); print('up'")
    assert ready != FOREVER
    graph = scripted_graph(tmp_path, monkeypatch, main=ready, other=f"{wait}\nraise SystemExit(9)")
    assert up.run(graph, {}) == 1
    told = capfd.readouterr()
    assert "rlco-up: node other died with exit code 9; all stopped" in told.err
    assert "[main] bye" in told.out


def test_up_passes_a_signal_on(tmp_path, monkeypatch):
    pytest.importorskip("ament_index_python")
    for name in ("main", "other"):
        (tmp_path / f"node_{name}.py").write_text(FOREVER)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        "from rlco import up\n"
        "from rlco.bringup import Graph, NodeSpec\n"
        "nodes = tuple(NodeSpec(name=n, module='node_' + n, parameters={}) for n in "
        "('main', 'other'))\n"
        "graph = Graph(name='t', description='', arguments=(), "
        "build=lambda _: nodes)\n"
        "sys.exit(up.run(graph, {}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        started = {process.stdout.readline(), process.stdout.readline()}
        assert started == {"[main] up\n", "[other] up\n"}
        process.terminate()
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + 15
    assert sorted(rest.splitlines()) == ["[main] bye", "[other] bye"]


class Recorded:
    """Stands in for a class of `launch`: remembers what it was made with."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options = arguments, options


@pytest.fixture
def launch_stand_in(monkeypatch):
    """The names of `launch` and `launch_ros` that the launch files use.

    The real ones are not on PyPI. With them on the path, this test uses them.
    """
    try:
        import launch  # noqa: F401
    except ImportError:
        names = {
            "launch": ("LaunchDescription", "LaunchContext"),
            "launch.actions": (
                "DeclareLaunchArgument",
                "EmitEvent",
                "OpaqueFunction",
                "RegisterEventHandler",
                "SetEnvironmentVariable",
            ),
            "launch.event_handlers": ("OnProcessExit",),
            "launch.events": ("Shutdown",),
            "launch_ros": (),
            "launch_ros.actions": ("Node",),
        }
        for module_name, classes in names.items():
            module = types.ModuleType(module_name)
            for name in classes:
                setattr(module, name, type(name, (Recorded,), {}))
            monkeypatch.setitem(sys.modules, module_name, module)
    else:
        pytest.skip("the real launch is installed: `ros2 launch rlco collect.launch.py` tests it")


@pytest.mark.parametrize("name", GRAPHS)
def test_the_launch_file_is_the_graph(name, launch_stand_in, collect_values, eval_values):
    path = PACKAGE / "launch" / f"{name}.launch.py"
    module_spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    (entities,) = module.generate_launch_description().arguments
    *declared, function = entities
    for argument, made in zip(GRAPHS[name].arguments, declared, strict=True):
        assert made.arguments == (argument.name,)
        assert made.options["description"] == argument.description
        assert made.options.get("default_value") == argument.default
    values = {a.name: a.default for a in GRAPHS[name].arguments}
    values |= values_of(name, collect_values, eval_values)
    context = types.SimpleNamespace(launch_configurations=values)
    actions = function.options["function"](context)
    nodes = [action for action in actions if type(action).__name__ == "Node"]
    expected = GRAPHS[name].nodes(values)
    assert [node.options["name"] for node in nodes] == [node.name for node in expected]
    for node, wanted in zip(nodes, expected, strict=True):
        assert node.options["parameters"] == [dict(wanted.parameters)]
        assert (node.options["package"], node.options["executable"]) == ("rlco", wanted.program)
    handlers = [a for a in actions if type(a).__name__ == "RegisterEventHandler"]
    assert len(handlers) == len(nodes)


ORPHANS = """
import os, subprocess, sys
from rlco import up
from rlco.bringup import Graph, NodeSpec
from rlco_calibration.twin import demo_bench
node = NodeSpec(name='lab', module='fake_scene', parameters={'twin': str(demo_bench())})
graph = Graph(name='t', description='', arguments=(), build=lambda _: (node,))
up.run(graph, {})
"""


@pytest.mark.ros
def test_killing_up_leaves_no_node_behind(domain, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(ORPHANS)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        with client() as watcher:
            watcher.until(
                lambda: "lab" in watcher.node.get_node_names(),
                "the node to be there",
            )
            (child,) = children_of(process.pid)
            process.kill()
            watcher.until(lambda: ended(child), "the node to be gone")
    finally:
        process.kill()
        process.communicate(timeout=60)


def ended(pid):
    """Whether a process is gone, or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
