"""One bench, one file: what it may say, and the nodes that come of it."""

from pathlib import Path

import pytest
from rlco import bench as benches
from rlco.bench import Bench, SimulatedLab, load_bench
from rlco.bringup import GRAPHS
from rlco.parameters import (
    ArmSettings,
    CameraSettings,
    GripperSettings,
    GuardLimits,
    ParameterError,
    TeleopSettings,
)
from rlco_datasets import spec
from rlco_datasets.spec import SpecError
from ros_studies import write_study

CONFIG = Path(benches.__file__).parents[1] / "config"
SHIPPED = sorted(path.stem.removeprefix("bench_") for path in CONFIG.glob("bench_*.yaml"))
REAL = {
    "name": "mine",
    "arm": ArmSettings(driver="fci", address="10.0.0.2"),
    "gripper": GripperSettings(driver="fci", address="10.0.0.2"),
    "cameras": (CameraSettings(name="third_person", driver="uvc", device="/dev/video0"),),
    "guard": GuardLimits(robot="fr3", workspace_high_m=(0.7, 0.3, 0.9)),
    "teleop": (TeleopSettings(device="spacemouse"),),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_bench_that_ships_can_be_read(name):
    bench = load_bench(name)
    assert bench.name == name
    if bench.twin:
        assert Path(bench.twin) == CONFIG / "twin.yaml"  # relative to the file
    assert (bench.arm is None) == (bench.lab is not None)


def test_the_three_kinds_of_bench_ship():
    kinds = {
        (b.arm and b.arm.driver, *(c.driver for c in b.cameras)) for b in map(load_bench, SHIPPED)
    }
    assert kinds == {(None,), ("crisp", "realsense"), ("fci", "uvc")}


def test_a_bench_is_a_file_and_back(tmp_path):
    bench = Bench(**REAL)
    spec.save(bench, tmp_path / "bench.yaml")
    assert load_bench(str(tmp_path / "bench.yaml")) == bench


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lab": SimulatedLab()}, "either an arm or a simulated lab"),
        ({"arm": None}, "simulated lab"),
        ({"gripper": None}, "needs the parts `gripper` and `guard`"),
        ({"guard": None}, "needs the parts `gripper` and `guard`"),
        ({"cameras": ()}, r"has cameras \[\], its contract 'franka_compact' asks"),
        ({"contract": "franka"}, "contract 'franka' is neither one of"),
        ({"teleop": (TeleopSettings(), TeleopSettings())}, "only one device may drive"),
    ],
)
def test_half_a_bench_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Bench(**(REAL | changes))


def test_a_lab_with_a_camera_of_ours_is_refused():
    with pytest.raises(ValueError, match="gripper and cameras of its own"):
        Bench(name="lab", lab=SimulatedLab(), cameras=REAL["cameras"])


def test_what_is_wrong_in_a_file_is_named(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text("name: mine\nlab: {lock_step: true}\nguard: {max_step_m: 9.0}\n")
    with pytest.raises(SpecError, match=r"max_step_m' must be in \[0.0001, 0.2\], got 9"):
        load_bench(str(path))
    with pytest.raises(ParameterError, match="neither one that ships with rlco nor the path"):
        load_bench("franka")


@pytest.fixture
def real(tmp_path):
    spec.save(Bench(**REAL), tmp_path / "bench.yaml")
    return {"bench": str(tmp_path / "bench.yaml")}


def test_a_session_on_an_arm_is_recorded_by_hand(real, tmp_path):
    values = real | {"store": str(tmp_path / "store"), "operator": "ada", "episodes": "3"}
    nodes = {node.name: node for node in GRAPHS["collect"].nodes(values)}
    devices = ["arm", "gripper", "camera_third_person", "teleop"]
    assert list(nodes) == [*devices, "guard", "recorder"]
    assert nodes["camera_third_person"].program == "camera"
    recorder, guard = nodes["recorder"], nodes["guard"].parameters
    assert recorder.main
    told = ("operator_name", "episodes", "raw_source", "label_topic", "lock_step")
    assert [recorder.parameters[name] for name in told] == ["ada", 3, "teleop", "", False]
    assert (guard["initial_source"], guard["arm_status"], guard["robot"]) == ("teleop", True, "fr3")
    assert not any(node.parameters["use_sim_time"] for node in nodes.values())


def test_a_study_on_an_arm_is_the_same_graph_with_other_devices(real, tmp_path):
    from rlco_datasets.contract import franka_compact

    write_study(tmp_path / "study.yaml", franka_compact())
    values = {"study": str(tmp_path / "study.yaml"), "ledger": "l", "server": "http://127.0.0.1:1"}
    on_arm = {node.name: node.parameters for node in GRAPHS["eval"].nodes(values | real)}
    arm = list(on_arm)
    lab = [node.name for node in GRAPHS["eval"].nodes(values | {"twin": "hidden.yaml"})]
    assert arm[-3:] == lab[-3:] == ["guard", "policy", "eval"]
    assert lab[:-3] == ["sim_lab"]
    assert arm[-4] == "scene"  # a person lays out what the simulated lab does itself
    for limit in ("workspace_low_m", "workspace_high_m"):  # the guard's, not the twin's
        assert on_arm["policy"][limit] == on_arm["guard"][limit]
    assert on_arm["policy"]["workspace_high_m"] == [0.7, 0.3, 0.9]
    assert on_arm["eval"]["reset_timeout_s"] > on_arm["scene"]["give_up_s"]


@pytest.mark.parametrize("argument", [{"twin": "hidden.yaml"}, {"lock_step": "true"}])
def test_arguments_of_the_simulated_lab_are_refused_on_an_arm(real, argument):
    with pytest.raises(ValueError, match="is for the simulated lab; mine has an arm"):
        GRAPHS["bringup"].nodes(real | argument)
