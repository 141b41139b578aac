import dataclasses

import numpy as np
import pytest
from rlco_calibration.initial_states import sample
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.contract import franka_compact


@pytest.fixture(scope="session")
def bench():
    return load_twin(demo_bench())


@pytest.fixture(scope="session")
def shifted_bench(bench):
    """The bench with a lagging arm, slippery objects and a stiff drawer."""
    return dataclasses.replace(
        bench,
        arm=dataclasses.replace(bench.arm, gain=0.8, delay_s=0.1),
        table=dataclasses.replace(bench.table, friction=0.3),
        objects=tuple(dataclasses.replace(item, friction=0.3) for item in bench.objects),
        drawers=tuple(
            dataclasses.replace(
                item, friction=0.3, mass_kg=1.25 * item.mass_kg, joint_friction_n=2.0
            )
            for item in bench.drawers
        ),
    )


@pytest.fixture(scope="session")
def contract():
    return franka_compact()


@pytest.fixture(scope="session")
def start(bench):
    def draw(task, seed=0):
        return sample(bench, task, np.random.default_rng(seed), f"start-{seed}")

    return draw
