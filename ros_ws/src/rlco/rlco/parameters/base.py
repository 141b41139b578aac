"""What a node's parameters are made of: a frozen dataclass whose fields say what they mean.

The nodes declare them from here and the graphs of `rlco.bringup` set them, so that a graph cannot
set what a node does not have. No ROS is needed to read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlco_datasets.contract import BUILT_IN, Contract, load_contract


class ParameterError(ValueError):
    """A node's parameter is missing or impossible."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that a number may have, ends included."""

    low: float
    high: float


def parameter(
    default: Any, description: str, *, low: float | None = None, high: float | None = None
) -> Any:
    """Return a dataclass field with its description and, for a number, its range.

    Raises:
        ValueError: if only one end of the range is given.
    """
    if (low is None) != (high is None):
        raise ValueError(f"{description!r}: give both ends of the range or none")
    span = None if low is None or high is None else Range(low=low, high=high)
    return field(default=default, metadata={"description": description, "range": span})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters of a node; subclasses add them."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ParameterError: naming the parameter that is outside its range.
        """
        for name, span in ranges(type(self)).items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(span.low <= number <= span.high for number in numbers):
                raise ParameterError(
                    f"parameter {name!r} must be in [{span.low:g}, {span.high:g}], got {value}: "
                    f"{describe(type(self))[name]}"
                )

    def require(self, *names: str) -> None:
        """Refuse parameters that are empty.

        Raises:
            ParameterError: naming the first one, with its description.
        """
        for name in names:
            if not getattr(self, name):
                raise ParameterError(
                    f"parameter {name!r} must be set: {describe(type(self))[name]}"
                )


def contract_named(name: str) -> Contract:
    """Return a built-in contract by its name, or one from a YAML file by its path.

    Raises:
        ParameterError: if it is neither.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if not name.endswith((".yaml", ".yml")):
        raise ParameterError(
            f"contract {name!r} is neither one of {sorted(BUILT_IN)} nor the path of a .yaml file"
        )
    return load_contract(name)


def describe(kind: type) -> dict[str, str]:
    """Return the description of every parameter of a node."""
    return {name: item.metadata["description"] for name, item in _fields(kind).items()}


def defaults(kind: type) -> dict[str, Any]:
    """Return the default of every parameter of a node."""
    return {name: item.default for name, item in _fields(kind).items()}


def ranges(kind: type) -> dict[str, Range]:
    """Return the range of every parameter of a node that has one."""
    spans = {name: item.metadata["range"] for name, item in _fields(kind).items()}
    return {name: span for name, span in spans.items() if span is not None}


def _fields(kind: type) -> dict[str, Any]:
    return dict(kind.__dataclass_fields__)  # type: ignore[attr-defined]
