"""A bench without physics or pictures, for tests of the nodes around it.

The arm is where it was told to be, at once. A cube near the closed gripper moves with it and falls
when it opens. Run as a program it is the `sim_lab` node over such a bench.
"""

import math
from dataclasses import dataclass

import numpy as np
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.frames import pose_matrix

TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
GRASP_M = 0.02
BOWL_M = 0.05


@dataclass(frozen=True)
class FakeStatus:
    success: bool
    milestone: str


class FakeScene:
    """`rlco.lab.bench.Scene` of pick and place.

    Solved when the cube was dropped over the bowl; or, if the initial condition's name ends in
    `-solved-after-N`, after N steps. The red channel of a frame counts steps, the green one resets
    (modulo 256); the blue one is noise that does not compress.
    """

    def __init__(self, contract):
        self._contract = contract
        self.resets = 0

    def reset(self, initial):
        if initial.task != "pick_and_place":
            raise ValueError(f"no task {initial.task!r} here")
        self.resets += 1
        self.steps = 0
        self.targets = []
        _, found, number = initial.name.partition("-solved-after-")
        self._solved_after = int(number) if found else math.inf
        self._pose = pose_matrix(initial.tcp_position_m, TOOL_DOWN)
        self._width_m = self._contract.gripper_max_width_m
        self._objects = {item.name: item.T_base_object for item in initial.objects}
        self._held = self._dropped = False

    def step_to(self, T_base_target, gripper):
        assert np.isfinite(T_base_target).all()
        self.steps += 1
        self.targets.append((T_base_target, gripper))
        cube = self._objects["cube"]
        if gripper < 0.5 and np.linalg.norm(cube[:3, 3] - self._pose[:3, 3]) < GRASP_M:
            self._held = True
        elif gripper > 0.5 and self._held:
            self._held = False
            offset = cube[:2, 3] - self._objects["bowl"][:2, 3]
            self._dropped = bool(np.linalg.norm(offset) < BOWL_M)
        if self._held:
            cube = cube.copy()
            cube[:3, 3] += T_base_target[:3, 3] - self._pose[:3, 3]
            self._objects["cube"] = cube
        self._pose = T_base_target
        self._width_m = 0.04 if self._held else gripper * self._contract.gripper_max_width_m

    def status(self):
        success = self._dropped or self.steps >= self._solved_after
        return FakeStatus(success, "success" if success else "grasped" if self._held else "start")

    def source_frame(self, camera):
        spec = self._contract.camera(camera)
        frame = np.zeros((spec.source_height, spec.source_width, 3), np.uint8)
        frame[..., 0], frame[..., 1] = self.steps % 256, self.resets % 256
        blue = np.random.default_rng(self.steps).integers(0, 255, frame.shape[:2], np.uint8)
        frame[..., 2] = blue
        return frame

    def object_poses(self):
        return dict(self._objects)

    @property
    def T_base_tcp(self):  # noqa: N802
        return self._pose

    @property
    def gripper_width_m(self):
        return self._width_m

    @property
    def joint_positions_rad(self):
        return np.zeros(7)


def fake_bench(twin_path, contract, task, *, seed, start_ns):
    """As `rlco.lab.build.build_bench`, without the simulator."""
    from rlco.lab.bench import SimulatedBench
    from rlco_calibration.initial_states import sample

    twin = load_twin(twin_path or demo_bench())
    scene = FakeScene(contract)
    scene.reset(sample(twin, task, np.random.default_rng(seed), "start"))
    return twin, SimulatedBench(scene, contract, start_ns=start_ns)


if __name__ == "__main__":
    from rlco.nodes.runtime import main
    from rlco.nodes.sim_lab import SimLab

    main(lambda: SimLab(fake_bench))
