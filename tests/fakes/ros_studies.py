"""A small study of the fake bench."""

from dataclasses import replace

from rlco_calibration.initial_states import sample
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets import spec
from rlco_evaluation.study import Study


def write_study(
    path, contract, *, codes=("A",), solved_after=(3,), time_limit_s=2.0, start_m=None, **changes
):
    """Write a study with one condition per entry of `solved_after` (None: never); return it.

    `start_m`: where the TCP begins (m, base frame), if not where the task has it.
    """
    import numpy as np

    twin = load_twin(demo_bench())
    conditions = []
    for number, steps in enumerate(solved_after):
        suffix = "" if steps is None else f"-solved-after-{steps}"
        rng = np.random.default_rng(number)
        condition = sample(twin, "pick_and_place", rng, f"c{number}{suffix}")
        start = condition.tcp_position_m if start_m is None else start_m
        conditions.append(replace(condition, tcp_position_m=start))
    fields = {
        "name": "lab",
        "task": "pick_and_place",
        "instruction": "put the red cube in the blue bowl",
        "contract_id": contract.id,
        "codes": tuple(codes),
        "conditions": tuple(conditions),
        "success_criterion": "the cube rests in the bowl",
        "time_limit_s": time_limit_s,
        "hold_s": 0.5,
        "order_seed": 1,
        "comparisons": (),
        "milestones": ("grasped", "success"),
    }
    study = Study(**(fields | changes))
    spec.save(study, path)
    return study
