"""The parameters of every node, one file a node: names, defaults, ranges and descriptions."""

from rlco.parameters.arm import ArmSettings
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
from rlco.parameters.calibrate import CalibrateParameters
from rlco.parameters.camera import CameraSettings
from rlco.parameters.capture import CaptureParameters
from rlco.parameters.evaluation import EvalParameters
from rlco.parameters.expert_teleop import OperatorParameters
from rlco.parameters.gripper import GripperSettings
from rlco.parameters.guard import GuardLimits, GuardParameters
from rlco.parameters.policy import PolicyParameters, PolicySettings
from rlco.parameters.recorder import RecorderParameters, RecorderSettings
from rlco.parameters.replay import ReplayParameters
from rlco.parameters.scene import SceneParameters, SceneSettings
from rlco.parameters.sim_lab import SimLabParameters
from rlco.parameters.teleop import TeleopParameters, TeleopSettings

__all__ = [
    "ArmSettings",
    "BenchParameters",
    "CalibrateParameters",
    "CameraSettings",
    "CaptureParameters",
    "EvalParameters",
    "GripperSettings",
    "GuardLimits",
    "GuardParameters",
    "OperatorParameters",
    "ParameterError",
    "Parameters",
    "PolicyParameters",
    "PolicySettings",
    "Range",
    "RecorderParameters",
    "RecorderSettings",
    "ReplayParameters",
    "SceneParameters",
    "SceneSettings",
    "SimLabParameters",
    "TeleopParameters",
    "TeleopSettings",
    "contract_named",
    "defaults",
    "describe",
    "parameter",
    "ranges",
]
