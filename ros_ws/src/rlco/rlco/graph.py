"""What a graph is: which nodes, with which parameters, from which arguments.

`rlco.bringup` says which graphs there are; the launch files and `rlco-up` run them. No ROS is
needed to read this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlco.parameters import ParameterError, defaults, describe
from rlco.resources import data_file


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
    """One node to start: `module`, which is `executable` of the package `rlco`."""

    name: str
    module: str
    parameters: Mapping[str, Any]
    executable: str = ""
    """"" for one called as the node."""
    main: bool = False
    """Whether the graph is done when this node ends; its exit code is then the graph's."""

    @property
    def program(self) -> str:
        """The executable."""
        return self.executable or self.name


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes that run together; all end when one of them does."""

    name: str
    description: str
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


def node(
    name: str,
    kind: type,
    given: Mapping[str, Any],
    *,
    module: str = "",
    executable: str = "",
    main: bool = False,
    use_sim_time: bool = False,
) -> NodeSpec:
    """Return a node whose parameters are those of `given` that it has, typed and checked.

    Text is read as the parameter's type; what is "" or not given keeps its default.
    """
    known = defaults(kind)
    typed = {
        key: _typed(key, given[key], default)
        for key, default in known.items()
        if key in given and given[key] != ""
    }
    parameters = asdict(kind(**typed)) | {"use_sim_time": use_sim_time}
    return NodeSpec(
        name=name,
        module=f"rlco.nodes.{module or executable or name}",
        parameters={
            key: list(value) if isinstance(value, tuple) else value
            for key, value in parameters.items()
        },
        executable=executable,
        main=main,
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


def argument(kind: type, name: str, default: str | None = None) -> Argument:
    """Return the argument that sets the parameter of the same name."""
    return Argument(name=name, description=describe(kind)[name], default=default)
