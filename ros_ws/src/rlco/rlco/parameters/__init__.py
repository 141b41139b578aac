"""The parameters of every node, one file a node: names, defaults, ranges and descriptions."""

from rlco.parameters.base import (
    ParameterError,
    Parameters,
    Range,
    contract_named,
    defaults,
    describe,
    parameter,
    ranges,
)
from rlco.parameters.bench import BenchParameters
from rlco.parameters.camera import CameraSettings
from rlco.parameters.evaluation import EvalParameters
from rlco.parameters.expert_teleop import OperatorParameters
from rlco.parameters.guard import GuardLimits, GuardParameters
from rlco.parameters.policy import PolicyParameters
from rlco.parameters.recorder import RecorderParameters
from rlco.parameters.sim_lab import SimLabParameters

__all__ = [
    "BenchParameters",
    "CameraSettings",
    "EvalParameters",
    "GuardLimits",
    "GuardParameters",
    "OperatorParameters",
    "ParameterError",
    "Parameters",
    "PolicyParameters",
    "Range",
    "RecorderParameters",
    "SimLabParameters",
    "contract_named",
    "defaults",
    "describe",
    "parameter",
    "ranges",
]
