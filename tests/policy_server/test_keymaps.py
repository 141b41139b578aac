from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_compact
from rlco_datasets.frames import rotation_from_6d
from rlco_policy_server.endpoints.settings import EndpointSettings, SettingsError
from rlco_policy_server.keymaps import BUILT_IN, KeyMap, KeyMapError, load_keymap
from rlco_policy_server.keymaps.keymap import ActionConvention, StatePart
from scipy.spatial.transform import Rotation

IMAGE = np.zeros((64, 64, 3), np.uint8)
angles = st.tuples(*[st.floats(-1.5, 1.5) for _ in range(3)])


def keymap(*state: StatePart, **changes: Any) -> KeyMap:
    fields: dict[str, Any] = {"name": "test", "images": {"image": "third_person"}, "state": state}
    return KeyMap(**(fields | changes))


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_maps_fit_the_demo_contract(name: str, contract: Contract) -> None:
    built_in = load_keymap(name)
    assert built_in.name == name
    assert built_in.problems(contract) == []
    assert built_in.required(contract)


@given(angles)
def test_every_rotation_format_means_the_same_rotation(euler: tuple[float, float, float]) -> None:
    contract = replace(franka_compact(), state_layout=("tcp_rotation_6d",))
    rotation = Rotation.from_euler("xyz", euler)
    x, y, z, w = rotation.as_quat()
    formats = {
        "euler_xyz_rad": euler,
        "rotation_vector_rad": rotation.as_rotvec(),
        "quaternion_xyzw": (x, y, z, w),
        "quaternion_wxyz": (w, x, y, z),
        "rotation_6d": rotation.as_matrix()[:, :2].T.reshape(6),
    }
    for meaning, numbers in formats.items():
        part = StatePart(key="r", meaning=meaning)  # type: ignore[arg-type]
        fields = {"image": IMAGE, "prompt": "x", "r": np.array(numbers)}
        state = keymap(part).read(fields, contract).state
        np.testing.assert_allclose(rotation_from_6d(state), rotation.as_matrix(), atol=1e-6)


@pytest.mark.parametrize(
    ("meaning", "numbers", "width_m"),
    [
        ("gripper_width_m", 0.05, 0.05),
        ("gripper_open_1", 1.0, 0.08),
        ("gripper_closed_1", 1.0, 0.0),
        ("gripper_closed_1", np.zeros(1), 0.08),
        ("gripper_fingers_m", np.array([0.04, -0.04]), 0.08),
        ("gripper_fingers_m", np.array([0.01, 0.01]), 0.02),
    ],
)
def test_every_gripper_format_becomes_a_width(meaning: Any, numbers: Any, width_m: float) -> None:
    contract = replace(franka_compact(), state_layout=("gripper_width",))
    fields = {"image": IMAGE, "prompt": "x", "g": numbers}
    state = keymap(StatePart(key="g", meaning=meaning)).read(fields, contract).state
    np.testing.assert_allclose(state, [width_m], atol=1e-7)


def test_parts_of_one_vector_are_taken_in_order() -> None:
    contract = replace(franka_compact(), state_layout=("gripper_width", "tcp_position"))
    parts = (
        StatePart(key="s", meaning="tcp_position_m"),
        StatePart(key="s", meaning="unused", size=2),
        StatePart(key="s", meaning="gripper_width_m"),
    )
    fields = {"image": IMAGE, "prompt": "x", "s": np.array([1, 2, 3, 9, 9, 4.0])}
    np.testing.assert_array_equal(keymap(*parts).read(fields, contract).state, [4, 1, 2, 3])


def test_every_difference_is_named_at_once(contract: Contract) -> None:
    fields = {"image": IMAGE[..., 0], "pose": np.zeros(7), "colour": "red"}
    part = StatePart(key="pose", meaning="tcp_position_m")
    actions = ActionConvention(delta_reference="measured_pose", control_rate_hz=20.0)
    with pytest.raises(KeyMapError) as error:
        keymap(part, actions=actions).read(fields, contract)
    for said in (
        "state.tcp_rotation_6d: not in the map",
        "state.gripper_width: not in the map",
        "actions.delta_reference: 'measured_pose' -> 'previous_target'",
        "actions.control_rate_hz: 20.0 -> 10.0",
        "image: uint8 (64, 64) is not uint8 RGB",
        "pose: float64 (7,) is not float (3,)",
        "prompt: missing",
        "'colour': unknown",
    ):
        assert said in str(error.value)


def test_a_zero_quaternion_is_refused() -> None:
    contract = replace(franka_compact(), state_layout=("tcp_rotation_6d",))
    part = StatePart(key="q", meaning="quaternion_wxyz")
    fields = {"image": IMAGE, "prompt": "x", "q": np.zeros(4)}
    with pytest.raises(KeyMapError, match="is no quaternion_wxyz"):
        keymap(part).read(fields, contract)


def test_a_pattern_stands_for_exactly_one_key(contract: Contract) -> None:
    contract = replace(contract, cameras=(replace(contract.cameras[0], name="wrist"),))
    wrist = keymap(images={"^.*wrist.*$": "wrist"})
    fields = {"left_wrist_image": IMAGE, "prompt": "x"}
    assert list(wrist.read(fields, contract, uses_state=False).images) == ["wrist"]
    with pytest.raises(KeyMapError, match="right_wrist_image"):
        wrist.read(fields | {"right_wrist_image": IMAGE}, contract, uses_state=False)


@pytest.mark.parametrize(
    ("sent", "name"),
    [("trial-7", "trial-7"), (7, "7"), (np.array([7], np.int32), "7"), (None, None)],
)
def test_sessions_are_text_or_one_number(contract: Contract, sent: Any, name: str | None) -> None:
    fields = {"image": IMAGE, "prompt": "x", "id": sent}
    observation = keymap(session="id").read(fields, contract, uses_state=False)
    assert observation.session == name


@pytest.mark.parametrize("sent", ["", "x" * 129, "a\nb", [1], {}, np.zeros(2), 1.5])
def test_other_sessions_are_refused(contract: Contract, sent: Any) -> None:
    with pytest.raises(KeyMapError, match="is no name"):
        keymap(session="id").read(
            {"image": IMAGE, "prompt": "x", "id": sent}, contract, uses_state=False
        )


@pytest.mark.parametrize(
    ("gripper", "signs"),
    [
        ("open_1", (0.0, 1.0)),
        ("closed_1", (1.0, 0.0)),
        ("closed_plus_1_open_minus_1", (1.0, -1.0)),
    ],
)
def test_units_and_gripper_signs_are_converted(gripper: Any, signs: tuple[float, float]) -> None:
    actions = np.array([[0.05, 0, 0, 0, 0.5, 0, 0], [0.1, 0, 0, 0, 0, 0, 1]], np.float32)
    kept = actions.copy()
    libero = ActionConvention(translation_unit_m=0.05, rotation_unit_rad=0.5, gripper=gripper)
    out = libero.from_contract(actions)
    np.testing.assert_allclose(out[:, 0], [1, 2])
    np.testing.assert_allclose(out[:, 4], [1, 0])
    np.testing.assert_allclose(out[:, 6], signs)
    np.testing.assert_array_equal(actions, kept)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": {}}, "name each camera once"),
        ({"images": {"a": "x", "b": "x"}}, "name each camera once"),
        ({"unused": ("prompt",)}, "one meaning"),
        ({"actions": ActionConvention(translation_unit_m=1.0), "unused": ("image",)}, "one mean"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        keymap(**changes)


@pytest.mark.parametrize("size", [("unused", 0), ("tcp_position_m", 3)])
def test_every_part_has_one_size(size: tuple[Any, int]) -> None:
    with pytest.raises(ValueError, match="size"):
        StatePart(key="x", meaning=size[0], size=size[1])


def test_a_labs_own_map_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    spec.save(replace(load_keymap("libero"), name="ours"), path)
    settings = EndpointSettings(keymap=(f"openpi={path}",))
    assert settings.keymap_of("openpi").name == "ours"
    assert settings.keymap_of("oft").name == "oft"


@pytest.mark.parametrize(
    "value", ["openpi", "openpi=", "grpc=libero", "openpi=nobody", "oft=x.yaml"]
)
def test_mistyped_choices_are_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=f"--keymap {value}"):
        EndpointSettings(keymap=(value,))
