import numpy as np
import pytest
from rlco_calibration.twin import demo_bench, load_twin
from rlco_datasets.contract import franka_compact

TWIN = load_twin(demo_bench())


def test_the_demo_bench_is_made_for_the_compact_contract():
    assert TWIN.contract_id == franka_compact().id
    camera, spec = TWIN.camera("third_person"), franka_compact().camera("third_person")
    assert (camera.width, camera.height) == (spec.source_width, spec.source_height)


def test_the_demo_bench_says_where_its_numbers_come_from():
    named = {item.name.split(".")[0] for item in TWIN.provenance}
    assert {"cameras", "table", "objects", "arm", "lighting", "tasks"} <= named


@pytest.mark.parametrize("task", [task.name for task in TWIN.tasks])
def test_every_start_is_inside_the_policy_image_and_the_workspace(task):
    camera, spec = TWIN.camera("third_person"), franka_compact().camera("third_person")
    left, top, width, height = spec.crop
    states = TWIN.task(task)
    for place in states.placements:
        for x in place.x_m:
            for y in place.y_m:
                point = np.linalg.inv(camera.T_base_camera) @ [x, y, TWIN.table.height_m, 1]
                u, v, w = camera.intrinsics @ point[:3]
                assert left < u / w < left + width
                assert top < v / w < top + height
                assert TWIN.workspace.low_m[0] < x < TWIN.workspace.high_m[0]
                assert TWIN.workspace.low_m[1] < y < TWIN.workspace.high_m[1]
