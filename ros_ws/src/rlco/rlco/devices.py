"""The nodes that are a bench: its arm, gripper, cameras, operator's device, and its guard."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rlco.bench import Bench
from rlco.graph import NodeSpec, node
from rlco.parameters import (
    ArmSettings,
    CameraSettings,
    GripperSettings,
    GuardParameters,
    SceneParameters,
    SimLabParameters,
    TeleopParameters,
)


def device_nodes(bench: Bench, *, task: str, image_every: int = 1) -> tuple[NodeSpec, ...]:
    """Return the nodes of a bench's devices; `task` and `image_every` are for a simulated lab."""
    if bench.lab is not None:
        given: dict[str, Any] = {
            **asdict(bench.lab),
            "contract": bench.contract,
            "task": task,
            "image_every": image_every,
        }
        return (node("sim_lab", SimLabParameters, given), *_teleop(bench))
    assert bench.arm is not None
    assert bench.gripper is not None
    return (
        node("arm", ArmSettings, asdict(bench.arm)),
        node("gripper", GripperSettings, asdict(bench.gripper)),
        *(
            node(f"camera_{camera.name}", CameraSettings, asdict(camera), executable="camera")
            for camera in bench.cameras
        ),
        *_teleop(bench),
    )


def common(bench: Bench) -> dict[str, Any]:
    """Return the parameters that every node of a bench shares."""
    return {
        "contract": bench.contract,
        "lock_step": bench.lock_step,
        "silence_s": bench.silence_s,
    }


def _teleop(bench: Bench) -> tuple[NodeSpec, ...]:
    return tuple(
        node(
            f"teleop_{number}" if number else "teleop",
            TeleopParameters,
            asdict(device) | common(bench),
            executable="teleop",
            use_sim_time=bench.lock_step,
        )
        for number, device in enumerate(bench.teleop)
    )


def scene_node(bench: Bench) -> NodeSpec:
    """Return the node through which the operator of a real bench lays out and judges trials."""
    return node("scene", SceneParameters, asdict(bench.scene) | common(bench))


def workspace(bench: Bench) -> dict[str, tuple[float, float, float]]:
    """Return the box (m, base frame) that set-points keep to: the guard's, or else the twin's."""
    if bench.guard is not None:
        low_m, high_m = bench.guard.workspace_low_m, bench.guard.workspace_high_m
    else:
        measured = bench.measured().workspace
        low_m, high_m = measured.low_m, measured.high_m
    return {"workspace_low_m": low_m, "workspace_high_m": high_m}


def guard_node(
    bench: Bench, *, listeners: int, initial_source: str = "none", floor_m: float | None = None
) -> NodeSpec:
    """Return the bench's guard; where it gives no limits, they are those of contract and twin.

    `floor_m` takes the place of its lowest height and of its table, for as long as it runs.
    """
    contract = bench.spoken
    if bench.guard is not None:
        limits = asdict(bench.guard)
    else:
        box = workspace(bench)
        limits = {
            **box,
            "table_height_m": box["workspace_low_m"][2],
            "max_step_m": contract.max_translation_m,
            "max_step_rad": contract.max_rotation_rad,
            "max_speed_m_s": contract.max_translation_m * contract.control_rate_hz,
            "max_speed_rad_s": contract.max_rotation_rad * contract.control_rate_hz,
        }
    if floor_m is not None:
        x, y, _ = limits["workspace_low_m"]
        limits |= {"workspace_low_m": (x, y, floor_m), "table_height_m": floor_m}
    given = limits | {
        **common(bench),
        "initial_source": initial_source,
        "listeners": listeners,
        "arm_status": bench.arm is not None,
    }
    return node("guard", GuardParameters, given, use_sim_time=bench.lock_step)
