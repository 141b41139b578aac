"""The graphs of rlco as data: which nodes, with which parameters, from which arguments.

The launch files and `rlco-up` both run what is said here, so that the two cannot drift. No ROS is
needed to read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlco_calibration.twin import Workspace, demo_bench, load_twin
from rlco_datasets import spec
from rlco_evaluation.study import Study

from rlco.parameters import (
    EvalParameters,
    GuardParameters,
    OperatorParameters,
    ParameterError,
    PolicyParameters,
    RecorderParameters,
    SimLabParameters,
    contract_named,
    describe,
)
from rlco.resources import data_file

OPERATOR_TARGET = "operator/target_pose"
"""Where the scripted operator tells what it meant; the recorder takes it as the action."""


class ArgumentError(ValueError):
    """An argument of a graph is unknown, missing or impossible."""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a graph; `default` None means that it must be given."""

    name: str
    description: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node to start: `module`, which is executable `name` of the package `rlco`."""

    name: str
    module: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes that run together; all end when the one called `main` ends, with its exit code."""

    name: str
    description: str
    main: str
    arguments: tuple[Argument, ...]
    build: Callable[[Mapping[str, str]], tuple[NodeSpec, ...]]

    def nodes(self, given: Mapping[str, str]) -> tuple[NodeSpec, ...]:
        """Return the nodes for arguments `given` as text, defaults filled in.

        Raises:
            ArgumentError: naming an unknown, missing or impossible argument.
        """
        known = {argument.name: argument for argument in self.arguments}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ArgumentError(
                f"unknown argument {unknown[0]!r} of {self.name}; it has {sorted(known)}"
            )
        values = {}
        for argument in self.arguments:
            value = given.get(argument.name, argument.default)
            if value is None:
                raise ArgumentError(
                    f"argument {argument.name!r} must be given ({argument.name}:=...): "
                    f"{argument.description}"
                )
            values[argument.name] = value
        try:
            return self.build(values)
        except ParameterError as error:
            raise ArgumentError(str(error)) from error


def environment(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables that every node needs; what is set already stays.

    Discovery stays on this machine, DDS is sized for camera frames, and the wheels' environment is
    found by the ament index.
    """
    current = dict(os.environ)
    prefixes = [p for p in current.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if sys.prefix not in prefixes:
        prefixes.append(sys.prefix)
    wanted = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(data_file("config/dds.xml")),
    }
    domain = (values or {}).get("domain", "")
    return (
        {name: current.get(name, value) for name, value in wanted.items()}
        | {"AMENT_PREFIX_PATH": os.pathsep.join(prefixes), "PYTHONUNBUFFERED": "1"}
        | ({"ROS_DOMAIN_ID": domain} if domain else {})
    )


def _node(name: str, kind: type, values: Mapping[str, str], **fixed: Any) -> NodeSpec:
    """Return a node whose parameters are `fixed`, or taken from the arguments of the same name."""
    given = {key: values[key] for key in describe(kind) if key in values} | fixed
    defaults = {name: field.default for name, field in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
    typed = {key: _typed(key, value, defaults[key]) for key, value in given.items()}
    parameters = asdict(kind(**typed))
    lock_step = parameters["lock_step"] and name != "sim_lab"
    return NodeSpec(
        name=name,
        module=f"rlco.nodes.{'evaluation' if name == 'eval' else name}",
        parameters={
            key: list(value) if isinstance(value, tuple) else value
            for key, value in (parameters | {"use_sim_time": lock_step}).items()
        },
    )


def _typed(name: str, value: Any, default: Any) -> Any:
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise ParameterError(f"{name} must be true or false, got {value!r}")
        return value.lower() == "true"
    try:
        return type(default)(value)
    except ValueError as error:
        raise ParameterError(
            f"{name} must be {'a whole number' if isinstance(default, int) else 'a number'}, "
            f"got {value!r}"
        ) from error


def _argument(kind: type, name: str, default: str | None = None) -> Argument:
    return Argument(name=name, description=describe(kind)[name], default=default)


_COMMON = (
    _argument(SimLabParameters, "contract", "franka_compact"),
    _argument(SimLabParameters, "lock_step", "true"),
    Argument(name="namespace", description="Namespace of every node.", default=""),
    Argument(name="domain", description="ROS_DOMAIN_ID; empty: as it is set.", default=""),
)
_BENCH = Argument(
    name="bench",
    description="YAML file of the training twin: start states and the workspace of targets.",
    default=str(demo_bench()),
)


def _guard(values: Mapping[str, str], workspace: Workspace, *, listeners: int) -> NodeSpec:
    """Return the guard of a simulated lab: its limits are those of contract and workspace."""
    contract = contract_named(values["contract"])
    return _node(
        "guard",
        GuardParameters,
        values,
        workspace_low_m=workspace.low_m,
        workspace_high_m=workspace.high_m,
        table_height_m=workspace.low_m[2],
        max_step_m=contract.max_translation_m,
        max_step_rad=contract.max_rotation_rad,
        max_speed_m_s=contract.max_translation_m * contract.control_rate_hz,
        max_speed_rad_s=contract.max_rotation_rad * contract.control_rate_hz,
        listeners=listeners,
    )


def _collect(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    contract, twin = contract_named(values["contract"]), load_twin(values["bench"])
    twin.task(values["task"])
    if twin.contract_id != contract.id:
        raise ParameterError(
            f"bench {values['bench']} was made for contract {twin.contract_id}, not for "
            f"{contract.name!r} ({contract.id}). Give the contract it was made for."
        )
    return (
        _node("sim_lab", SimLabParameters, values),
        _guard(values, twin.workspace, listeners=2),
        _node("recorder", RecorderParameters, values, label_topic=OPERATOR_TARGET),
        _node("expert_teleop", OperatorParameters, values, label_topic=OPERATOR_TARGET),
    )


def _eval(values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    study = spec.load(Study, values["study"])
    contract = contract_named(values["contract"])
    if study.contract_id != contract.id:
        raise ParameterError(
            f"study {values['study']} is for contract {study.contract_id}, not for "
            f"{contract.name!r} ({contract.id}). Give the contract it was made for."
        )
    workspace = load_twin(values["bench"]).workspace
    return (
        _node(
            "sim_lab",
            SimLabParameters,
            values,
            task=study.task,
            image_every=contract.executed_steps if values["lock_step"].lower() == "true" else 1,
        ),
        _guard(values, workspace, listeners=1),
        _node(
            "policy",
            PolicyParameters,
            values,
            workspace_low_m=workspace.low_m,
            workspace_high_m=workspace.high_m,
        ),
        _node("eval", EvalParameters, values),
    )


GRAPHS = {
    graph.name: graph
    for graph in (
        Graph(
            name="collect",
            description="Record demonstrations of the scripted operator in the simulated lab.",
            main="expert_teleop",
            arguments=(
                _argument(SimLabParameters, "twin"),
                _argument(RecorderParameters, "store"),
                _BENCH,
                _argument(OperatorParameters, "task", "pick_and_place"),
                _argument(OperatorParameters, "episodes", "20"),
                _argument(OperatorParameters, "seed", "0"),
                _argument(OperatorParameters, "noise", "0.15"),
                _argument(OperatorParameters, "source", "real"),
                _argument(RecorderParameters, "minimum_free_mb", "200"),
                *_COMMON,
            ),
            build=_collect,
        ),
        Graph(
            name="eval",
            description="Run a blind study of served policies in the simulated lab.",
            main="eval",
            arguments=(
                _argument(SimLabParameters, "twin"),
                _argument(EvalParameters, "study"),
                _argument(EvalParameters, "ledger"),
                _argument(PolicyParameters, "server"),
                _argument(EvalParameters, "frames", ""),
                _BENCH,
                _argument(PolicyParameters, "timeout_s", "5.0"),
                _argument(EvalParameters, "patience_s", "20.0"),
                *_COMMON,
            ),
            build=_eval,
        ),
    )
}
