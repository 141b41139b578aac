"""Episodes a second of pick and place: the twin against the same scene as plain ManiSkill.

Both sides play random actions in episodes of 28 steps with 64x64 pictures. Ours renders once per
chunk of 4 steps with light meshes. The peer is a ManiSkill `BaseEnv` with the stock Panda (its
visual meshes, `pd_ee_delta_pose`, ManiSkill's default simulation rate) whose `env.step` renders
every step. Start-up is left out on both sides; a third row has our noisy expert instead of random
actions.

python benchmarks/rollout.py --json rollout.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _rows import report, row
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import Twin, demo_bench, load_twin
from rlco_datasets.contract import franka_compact
from rlco_trainer.twin.workers import WorkerPool

TASK = "pick_and_place"
STEPS = 28
CHUNK = 4
Rounds = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure rollouts; prints a table."""

    workers: int = 2
    """Processes on each side."""
    scenes: int = 8
    """Scenes a process, ours; the peer can hold one."""
    rounds: int = 5
    """Timed rounds a side; medians are reported."""
    episodes: int = 16
    """Episodes a round and process, ours."""
    peer_episodes: int = 2
    """Episodes a round and process, the peer."""
    json: Path | None = None
    """Where to write the rows."""


def timed(rounds: int, episodes: int, play: Callable[[], Any]) -> Rounds:
    """Return (wall, CPU) seconds an episode of each round, after one round to warm up."""
    play()
    result = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        play()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        result.append((spent[0] / episodes, spent[1] / episodes))
    return result


def ours(batch: Any, rounds: int, episodes: int, expert: bool) -> Rounds:
    """Play in a worker's batch, `len(batch)` episodes at a time."""
    from rlco_trainer.twin.expert import Expert, ExpertNoise

    rng = np.random.default_rng(0)

    def play() -> None:
        for first in range(0, episodes, len(batch)):
            rows = batch.rows[: episodes - first]
            batch.reset(rows, [sample(batch.twin, TASK, rng, "episode") for _ in rows])
            experts = [Expert(TASK, rng, ExpertNoise()) for _ in rows]
            for step in range(STEPS):
                if step % CHUNK == 0:
                    batch.observe(rows)
                actions = rng.normal(0, 0.02, (len(rows), 7))
                if expert:
                    pairs = zip(experts, rows, strict=True)
                    actions = np.stack([one.act(batch.scenes[row]).executed for one, row in pairs])
                batch.step(rows, actions)
            batch.success(rows)

    return timed(rounds, episodes, play)


def peer(batch: Any, rounds: int, episodes: int) -> Rounds:
    """Play in a plain ManiSkill environment, built here; `batch` is not used."""
    env = plain_maniskill(batch.twin)
    rng = np.random.default_rng(0)

    def play() -> None:
        for _ in range(episodes):
            env.reset(seed=int(rng.integers(1 << 30)))
            for _ in range(STEPS):
                env.step(rng.normal(0, 0.3, 7).astype(np.float32))

    try:
        return timed(rounds, episodes, play)
    finally:
        env.close()


def plain_maniskill(twin: Twin) -> Any:
    """Return the cube and the bowl of the twin in an environment after ManiSkill's tutorials."""
    import sapien
    import torch
    from mani_skill.envs.sapien_env import BaseEnv
    from mani_skill.sensors.camera import CameraConfig
    from mani_skill.utils import sapien_utils
    from mani_skill.utils.scene_builder.table import TableSceneBuilder
    from mani_skill.utils.structs.pose import Pose
    from rlco_trainer.twin import shapes
    from rlco_trainer.twin.physics import sapien_pose

    class PlainPickAndPlace(BaseEnv):  # type: ignore[misc]
        SUPPORTED_ROBOTS = ("panda",)

        @property
        def _default_sensor_configs(self) -> Any:
            pose = sapien_utils.look_at((0.1, -0.58, 0.5), (-0.1, 0.0, 0.05))
            return [CameraConfig("third_person", pose, 64, 64, 0.85, 0.01, 10)]

        def _load_agent(self, options: Any) -> None:
            super()._load_agent(options, sapien.Pose([-0.615, 0, 0]))

        def _load_scene(self, options: Any) -> None:
            self.table = TableSceneBuilder(self)
            self.table.build()
            for name in ("cube", "bowl"):
                model, builder = twin.object_model(name), self.scene.create_actor_builder()
                for part in shapes.parts(model):
                    pose, half = sapien_pose(part.T_object_part), np.array(part.size_m) / 2
                    builder.add_box_collision(pose, half)
                    builder.add_box_visual(pose, half, material=model.colour)
                builder.initial_pose = sapien.Pose([0.0, 0.1 * len(name) - 0.4, 0.1])
                setattr(self, name, builder.build(name))

        def _initialize_episode(self, env_idx: Any, options: Any) -> None:
            self.table.initialize(env_idx)
            for actor, y in ((self.cube, -0.1), (self.bowl, 0.15)):
                xyz = torch.rand((len(env_idx), 3)) * 0.1
                xyz[:, 1] += y
                xyz[:, 2] = 0.02
                actor.set_pose(Pose.create_from_pq(xyz))

        def evaluate(self) -> Any:
            offset = torch.linalg.norm((self.cube.pose.p - self.bowl.pose.p)[:, :2], dim=1)
            grasped = self.agent.is_grasping(self.cube)
            return {"success": (offset < 0.05) & ~grasped}

        def _get_obs_extra(self, info: Any) -> Any:
            return {"tcp_pose": self.agent.tcp.pose.raw_pose}

    return PlainPickAndPlace(
        robot_uids="panda",
        obs_mode="rgb",
        control_mode="pd_ee_delta_pose",
        reward_mode="none",
        sim_backend="physx_cpu",
        render_backend="cpu",
    )


def rate(answers: list[Rounds]) -> tuple[float, float]:
    """Return the median episodes a second of all workers together, and CPU seconds an episode."""
    by_round = list(zip(*answers, strict=True))
    rates = [sum(1 / wall for wall, _ in workers) for workers in by_round]
    cpu = [statistics.mean(spent for _, spent in workers) for workers in by_round]
    return statistics.median(rates), statistics.median(cpu)


def main() -> None:
    """Measure each side in its own fresh workers and print the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    twin, contract = load_twin(demo_bench()), franka_compact()

    def measure(function: Any, scenes: int, images: Any, *rest: Any) -> tuple[float, float]:
        with WorkerPool(
            twin, contract, TASK, workers=arguments.workers, scenes=scenes, images=images
        ) as pool:
            return rate(pool.map(function, [(arguments.rounds, *rest)] * arguments.workers))

    random = measure(ours, arguments.scenes, "policy", arguments.episodes, False)
    expert = measure(ours, arguments.scenes, "policy", arguments.episodes, True)
    plain = measure(peer, 1, "none", arguments.peer_episodes)
    rows = []
    for label, mine in (("random actions", random), ("noisy expert", expert)):
        name = f"pick and place, {label} (peer: plain ManiSkill)"
        n = arguments.rounds
        rows.append(row(name, mine[0], plain[0], "episodes/s", n, better="higher"))
        rows.append(row(name, mine[1], plain[1], "CPU s/episode", n))
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
