"""The graphs of rlco as data: what runs together on a bench, from which arguments.

The launch files and `rlco-up` both run what is said here, so that the two cannot drift. No ROS is
needed to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from rlco_calibration.gather import task_of
from rlco_datasets import spec
from rlco_evaluation.study import Study

from rlco.bench import Bench, load_bench
from rlco.devices import common, device_nodes, guard_node, scene_node, workspace
from rlco.graph import (
    Argument,
    ArgumentError,
    Graph,
    NodeSpec,
    argument,
    environment,
    node,
)
from rlco.parameters import (
    CalibrateParameters,
    CaptureParameters,
    EvalParameters,
    OperatorParameters,
    ParameterError,
    PolicyParameters,
    RecorderParameters,
    ReplayParameters,
)

__all__ = ["GRAPHS", "Argument", "ArgumentError", "Graph", "NodeSpec", "environment"]

OPERATOR_TARGET = "operator/target_pose"
"""Where the scripted operator tells what it meant; the recorder takes it as the action."""
SELDOM = 100_000
"""`image_every` where frames are wanted now and then: a repeated observation has them."""
FLOOR_RANGE_M = 0.1
"""How far from the base's height a table may be looked for."""
REPLY_S = 60.0
"""How much longer than the scene node itself the evaluation waits for it."""
BENCH = Argument(
    name="bench",
    description="The bench: the name of one that ships with rlco, or its YAML file.",
    default="sim_lab",
)
COMMON = (
    BENCH,
    Argument(
        name="twin",
        description="Simulated lab only: YAML file of the lab's own twin; may be a hidden one.",
        default="",
    ),
    Argument(
        name="measured",
        description="YAML file of the measured twin, in place of the one that the bench names.",
        default="",
    ),
    Argument(
        name="contract",
        description="Name of a built-in contract, or its YAML file; empty: the bench's.",
        default="",
    ),
    Argument(
        name="lock_step",
        description="Simulated lab only: false lets it run by the wall clock; empty: as the bench "
        "says.",
        default="",
    ),
    Argument(name="namespace", description="Namespace of every node.", default=""),
    Argument(name="domain", description="ROS_DOMAIN_ID; empty: as it is set.", default=""),
)


def bench_of(values: Mapping[str, str]) -> Bench:
    """Return the bench of a graph, with what the arguments change.

    Raises:
        ParameterError: if an argument does not fit the bench.
    """
    bench = load_bench(values["bench"])
    if values.get("contract"):
        bench = replace(bench, contract=values["contract"])
    if values.get("measured"):
        bench = replace(bench, twin=values["measured"])
    if bench.lab is None:
        for name in ("twin", "lock_step"):
            if values.get(name):
                raise ParameterError(f"{name} is for the simulated lab; {bench.name} has an arm")
        return bench
    lab = bench.lab
    if values.get("twin"):
        lab = replace(lab, twin=values["twin"])
    if not lab.twin:
        raise ParameterError(
            "argument 'twin' must be given (twin:=...): YAML file of the lab's own twin"
        )
    if values.get("lock_step"):
        if values["lock_step"] not in ("true", "false"):
            raise ParameterError(f"lock_step must be true or false, got {values['lock_step']!r}")
        lab = replace(lab, lock_step=values["lock_step"] == "true")
    return replace(bench, lab=lab)


def _given(values: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: values[name] for name in names if values.get(name)}


def _collect(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    bench = bench_of(values)
    twin = bench.measured()
    task = twin.task(values["task"])
    shared, simulated = common(bench), bench.lock_step
    by_hand = bench.lab is None or bool(bench.teleop)
    recording = (
        asdict(bench.recorder)
        | shared
        | _given(values, ("store", "source", "session", "minimum_free_mb"))
        | {"task": task.name, "instruction": task.instruction, "raw_source": "teleop"}
    )
    if by_hand:
        recording |= {"episodes": values["episodes"], "operator_name": values["operator"]}
    else:
        recording["label_topic"] = OPERATOR_TARGET
    operator = shared | {
        "bench": bench.twin_path,
        "label_topic": OPERATOR_TARGET,
        **_given(values, ("task", "episodes", "seed", "noise", "source")),
    }
    recorder = node("recorder", RecorderParameters, recording, main=by_hand, use_sim_time=simulated)
    scripted = node(
        "expert_teleop", OperatorParameters, operator, main=True, use_sim_time=simulated
    )
    return (
        *device_nodes(bench, task=task.name),
        guard_node(bench, listeners=2, initial_source="teleop" if by_hand else "none"),
        recorder,
        *(() if by_hand else (scripted,)),
    )


def _eval(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    study = spec.load(Study, values["study"])
    bench = bench_of(values)
    contract = bench.spoken
    if study.contract_id != contract.id:
        raise ParameterError(
            f"study {values['study']} is for contract {study.contract_id}, not for "
            f"{contract.name!r} ({contract.id}). Give the contract it was made for."
        )
    shared, simulated = common(bench), bench.lock_step
    policy = (
        asdict(bench.policy)
        | shared
        | _given(values, ("server", "timeout_s", "blending"))
        | workspace(bench)
    )
    trials = shared | _given(values, ("study", "ledger", "frames", "patience_s"))
    by_hand = bench.lab is None
    if by_hand:
        trials |= {"reset_timeout_s": bench.scene.give_up_s + REPLY_S}
    return (
        *device_nodes(
            bench, task=study.task, image_every=contract.executed_steps if simulated else 1
        ),
        *((scene_node(bench),) if by_hand else ()),
        guard_node(bench, listeners=1),
        node("policy", PolicyParameters, policy, use_sim_time=simulated),
        node(
            "eval",
            EvalParameters,
            trials,
            module="evaluation",
            main=True,
            use_sim_time=simulated,
        ),
    )


def _bringup(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    bench = bench_of(values)
    return (
        *device_nodes(bench, task=values["task"]),
        guard_node(bench, listeners=1, initial_source=values["source"]),
    )


def _calibrate(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    bench = bench_of(values)
    board = ("columns", "rows", "square_m", "marker_m", "dictionary")
    given = common(bench) | _given(values, ("folder", "board_place", "on_hand", *board))
    if values["automatic"] == "true":
        given = common(bench) | _given(values, ("folder", "steps", "captures"))
        moving = given | {"bench": bench.twin_path}
        return (
            # the node itself drives; in lock step it waits for a frame where it wants one
            *device_nodes(
                replace(bench, teleop=()),
                task=task_of(values["steps"]),
                image_every=SELDOM if bench.lock_step else 1,
            ),
            guard_node(bench, listeners=1, floor_m=_floor_m(values["floor_m"])),
            node(
                "calibrate",
                CalibrateParameters,
                moving,
                main=True,
                use_sim_time=bench.lock_step,
            ),
        )
    return (
        *device_nodes(bench, task=values["task"]),
        guard_node(bench, listeners=1, initial_source="teleop"),
        node("capture", CaptureParameters, given, use_sim_time=bench.lock_step),
    )


def _floor_m(text: str) -> float | None:
    if not text:
        return None
    try:
        floor_m = float(text)
    except ValueError as error:
        raise ParameterError(f"floor_m must be a number, got {text!r}") from error
    if not -FLOOR_RANGE_M <= floor_m <= FLOOR_RANGE_M:
        raise ParameterError(
            f"floor_m must be within {FLOOR_RANGE_M} m of the base's height, got {floor_m}. Metres."
        )
    return floor_m


def _replay(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    bench = bench_of(values)
    given = common(bench) | _given(values, ("store", "episode", "speed"))
    return (
        *device_nodes(bench, task=values["task"]),
        guard_node(bench, listeners=1),
        node("replay", ReplayParameters, given, main=True, use_sim_time=bench.lock_step),
    )


_TASK = argument(OperatorParameters, "task", "pick_and_place")
_SCENE = Argument(
    name="task",
    description="Simulated lab only: task whose scene is set up.",
    default="pick_and_place",
)

GRAPHS = {
    graph.name: graph
    for graph in (
        Graph(
            name="collect",
            description="Record demonstrations: of the bench's teleoperation device, or of the "
            "scripted operator where it has none.",
            arguments=(
                argument(RecorderParameters, "store"),
                _TASK,
                argument(OperatorParameters, "episodes", "20"),
                argument(OperatorParameters, "seed", "0"),
                argument(OperatorParameters, "noise", "0.15"),
                argument(OperatorParameters, "source", "real"),
                Argument(
                    name="operator",
                    description="Name of the person who demonstrates.",
                    default="operator",
                ),
                argument(RecorderParameters, "session", ""),
                argument(RecorderParameters, "minimum_free_mb", ""),
                *COMMON,
            ),
            build=_collect,
        ),
        Graph(
            name="eval",
            description="Run a blind study of served policies.",
            arguments=(
                argument(EvalParameters, "study"),
                argument(EvalParameters, "ledger"),
                argument(PolicyParameters, "server"),
                argument(EvalParameters, "frames", ""),
                argument(PolicyParameters, "timeout_s", ""),
                argument(PolicyParameters, "blending", ""),
                argument(EvalParameters, "patience_s", "20.0"),
                *COMMON,
            ),
            build=_eval,
        ),
        Graph(
            name="bringup",
            description="Start the bench's devices and its guard, and nothing that moves it.",
            arguments=(
                Argument(
                    name="source",
                    description="Who may drive from the start: none, teleop or policy.",
                    default="none",
                ),
                _SCENE,
                *COMMON,
            ),
            build=_bringup,
        ),
        Graph(
            name="calibrate",
            description="Start the bench and keep captures of a board, with the arm's pose, for "
            "rlco-calibrate; the operator moves the arm between them.",
            arguments=(
                argument(CaptureParameters, "folder"),
                Argument(
                    name="automatic",
                    description="true: the node `calibrate` moves the arm by itself and collects "
                    "all that a calibration needs, then ends; false: the operator moves it.",
                    default="false",
                ),
                argument(CalibrateParameters, "steps", ""),
                argument(CalibrateParameters, "captures", ""),
                Argument(
                    name="floor_m",
                    description="With automatic:=true: how low (m, base frame) the guard lets the "
                    "TCP be sent, so that a table that is lower than thought can be touched; "
                    "empty: as the bench says.",
                    default="",
                ),
                argument(CaptureParameters, "board_place", ""),
                argument(CaptureParameters, "on_hand", ""),
                argument(CaptureParameters, "columns", ""),
                argument(CaptureParameters, "rows", ""),
                argument(CaptureParameters, "square_m", ""),
                argument(CaptureParameters, "marker_m", ""),
                argument(CaptureParameters, "dictionary", ""),
                _SCENE,
                *COMMON,
            ),
            build=_calibrate,
        ),
        Graph(
            name="replay",
            description="Play an episode of a store through the stack: its actions go to the "
            "guard as an operator's.",
            arguments=(
                argument(ReplayParameters, "store"),
                argument(ReplayParameters, "episode", "0"),
                argument(ReplayParameters, "speed", ""),
                _SCENE,
                *COMMON,
            ),
            build=_replay,
        ),
    )
}
