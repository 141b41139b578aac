"""One bench as one YAML file: its arm, cameras, operator's device, limits and habits.

A `Bench` is either a real one (`arm`, `gripper`, `cameras`) or the simulated lab (`lab`). The
graphs of `rlco.bringup` start what it says; nothing else describes a bench. Examples are in
`config/bench_*.yaml`. No ROS is needed to read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from rlco_calibration.twin import Twin, demo_bench, load_twin
from rlco_datasets import spec
from rlco_datasets.contract import Contract

from rlco.parameters import (
    ArmSettings,
    CameraSettings,
    GripperSettings,
    GuardLimits,
    ParameterError,
    PolicySettings,
    RecorderSettings,
    SceneSettings,
    TeleopSettings,
    contract_named,
)
from rlco.resources import data_file


@dataclass(frozen=True, kw_only=True)
class SimulatedLab:
    """The simulated lab in place of an arm and cameras."""

    twin: str = ""
    """YAML file of the lab's own twin, which may be a hidden one; "" where an argument gives it."""
    lock_step: bool = True
    """Whether the lab waits for a command at each step; false: it runs by the wall clock."""
    seed: int = 0
    """Seed of the sensor noise."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What stands in the lab."""

    name: str
    contract: str = "franka_compact"
    """Name of a built-in contract, or its YAML file."""
    twin: str = ""
    """YAML file of the measured twin; "" for the one of the demo bench that ships with rlco."""
    silence_s: float = 2.0
    """A topic not heard for this long (wall clock) is silent."""
    lab: SimulatedLab | None = None
    arm: ArmSettings | None = None
    gripper: GripperSettings | None = None
    cameras: tuple[CameraSettings, ...] = ()
    teleop: tuple[TeleopSettings, ...] = ()
    """The operator's devices; none: the scripted operator in a simulated lab, and on an arm
    whatever publishes on `teleop/...`."""
    guard: GuardLimits | None = None
    """None: the limits of contract and twin."""
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    scene: SceneSettings = field(default_factory=SceneSettings)
    """How a person lays out the scenes of an evaluation; the simulated lab does it itself."""

    def __post_init__(self) -> None:
        """Check that it is one bench, whole."""
        if (self.lab is None) == (self.arm is None):
            raise ValueError(f"bench {self.name!r} must have either an arm or a simulated lab")
        if sum(device.drives for device in self.teleop) > 1:
            raise ValueError(
                f"bench {self.name!r}: only one device may drive; give the others `drives: false`"
            )
        if self.arm is None:
            if self.cameras or self.gripper is not None:
                raise ValueError(
                    f"bench {self.name!r}: the simulated lab has a gripper and cameras of its own"
                )
            return
        if self.gripper is None or self.guard is None:
            raise ValueError(f"bench {self.name!r}: an arm needs the parts `gripper` and `guard`")
        wanted = sorted(contract_named(self.contract).camera_names)
        found = sorted(camera.name for camera in self.cameras)
        if found != wanted:
            raise ValueError(
                f"bench {self.name!r} has cameras {found}, its contract {self.contract!r} asks "
                f"for {wanted}"
            )

    @property
    def lock_step(self) -> bool:
        """Whether time is simulated."""
        return self.lab is not None and self.lab.lock_step

    @property
    def spoken(self) -> Contract:
        """The contract itself."""
        return contract_named(self.contract)

    @property
    def twin_path(self) -> str:
        """The file of the measured twin."""
        return self.twin or str(demo_bench())

    def measured(self) -> Twin:
        """Return the measured twin.

        Raises:
            ParameterError: if it was made for another contract.
        """
        twin = load_twin(self.twin_path)
        if twin.contract_id != self.spoken.id:
            raise ParameterError(
                f"twin {self.twin_path} was made for contract {twin.contract_id}, not for "
                f"{self.spoken.name!r} ({self.spoken.id}). Give the contract it was made for."
            )
        return twin


def load_bench(name: str) -> Bench:
    """Return a bench that ships with rlco by its name, or one from a YAML file by its path.

    Paths in the file are relative to it.

    Raises:
        ParameterError: if it is neither.
        SpecError: naming what is wrong in the file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        try:
            path = data_file(f"config/bench_{name}.yaml")
        except FileNotFoundError as error:
            raise ParameterError(
                f"bench {name!r} is neither one that ships with rlco nor the path of a .yaml file"
            ) from error
    bench = spec.load(Bench, path)
    here = path.resolve().parent

    def absolute(text: str) -> str:
        return str(here / text) if text.endswith((".yaml", ".yml")) else text

    lab = bench.lab and replace(bench.lab, twin=absolute(bench.lab.twin))
    cameras = tuple(
        replace(
            camera,
            twin=absolute(camera.twin),
            recording=str(here / camera.recording) if camera.recording else "",
        )
        for camera in bench.cameras
    )
    key = bench.policy.api_key_file
    policy = replace(bench.policy, api_key_file=str(here / Path(key).expanduser()) if key else "")
    return replace(
        bench,
        contract=absolute(bench.contract),
        twin=absolute(bench.twin),
        lab=lab,
        cameras=cameras,
        policy=policy,
    )
