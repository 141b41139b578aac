from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlco_datasets import spec
from rlco_datasets.contract import (
    BUILT_IN,
    CameraSpec,
    Contract,
    ContractMismatchError,
    franka_compact,
    franka_third_person,
    load_contract,
    require_same_contract,
)
from rlco_datasets.initial_condition import InitialCondition, ObjectPose

CONTRACT = franka_compact()


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(
        st.lists(
            st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(str.isidentifier),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    horizon = draw(st.integers(1, 60))
    return replace(
        CONTRACT,
        name=draw(st.text(min_size=1, max_size=12)),
        cameras=tuple(replace(CONTRACT.cameras[0], name=name) for name in names),
        control_rate_hz=draw(st.floats(0.01, 1000)),
        max_translation_m=draw(st.floats(1e-6, 1)),
        horizon=horizon,
        executed_steps=draw(st.integers(1, horizon)),
    )


@settings(max_examples=60, deadline=None)
@given(contract=contracts())
def test_yaml_round_trips(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("contract") / "contract.yaml"
    spec.save(contract, path)
    loaded = load_contract(path)
    assert loaded == contract
    assert loaded.id == contract.id
    assert spec.diff(contract, loaded) == []


def test_ids_of_the_built_in_contracts_are_stable() -> None:
    """A change here orphans every recorded store: raise `version` and convert instead."""
    ids = {name: make().id for name, make in BUILT_IN.items()}
    assert ids == {"franka_third_person": "d16cfa138346b6ca", "franka_compact": "f714d744821d52b3"}


@given(contract=contracts())
def test_a_whole_number_where_a_float_is_meant_hashes_the_same(contract: Contract) -> None:
    plain = spec.to_plain(contract) | {"control_rate_hz": 10}
    as_int = spec.from_plain(Contract, plain, where="test")
    assert as_int.id == replace(contract, control_rate_hz=10.0).id


@pytest.mark.parametrize("field", ["horizon", "control_rate_hz", "max_rotation_rad", "name"])
def test_every_change_changes_the_id_and_is_named(field: str) -> None:
    changed: dict[str, Any] = {
        "horizon": 9,
        "control_rate_hz": 11.0,
        "max_rotation_rad": 0.3,
        "name": "other",
    }
    other = replace(CONTRACT, **{field: changed[field]})
    assert other.id != CONTRACT.id
    assert [difference.path for difference in spec.diff(CONTRACT, other)] == [field]


def test_diff_speaks_of_cameras_by_name() -> None:
    camera = CONTRACT.cameras[0]
    other = replace(CONTRACT, cameras=(replace(camera, name="wrist"), camera))
    differences = {str(difference) for difference in spec.diff(CONTRACT, other)}
    assert "cameras.wrist.width: None -> 64" in differences
    assert all(text.startswith("cameras.wrist.") for text in differences)


def test_a_mismatch_names_place_fields_and_remedy() -> None:
    require_same_contract(CONTRACT, franka_compact(), where="nowhere")
    with pytest.raises(ContractMismatchError) as caught:
        require_same_contract(CONTRACT, franka_third_person(), where="checkpoint runs/7")
    message = str(caught.value)
    for part in ("checkpoint runs/7", CONTRACT.id, "horizon: 4 -> 8", "of one contract"):
        assert part in message


def test_derived_sizes() -> None:
    assert CONTRACT.state_dim == 10
    assert CONTRACT.period_ns == 100_000_000
    assert CONTRACT.camera_names == ("third_person",)
    assert CONTRACT.camera("third_person") is CONTRACT.cameras[0]
    with pytest.raises(KeyError, match="no camera 'wrist', only"):
        CONTRACT.camera("wrist")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2 is unknown"),
        ({"control_rate_hz": 0.0}, r"control_rate_hz must be in \(0, 1000\], got 0.0"),
        ({"executed_steps": 5}, r"executed_steps must be in \[1, horizon=4\], got 5"),
        ({"max_translation_m": 0.0}, "max_translation_m must be positive"),
        ({"state_layout": ("joints",)}, r"state_layout \['joints'\] unknown"),
        ({"state_layout": ()}, "choose from"),
        ({"cameras": ()}, "at least one"),
        ({"cameras": CONTRACT.cameras * 2}, "distinct names"),
    ],
)
def test_impossible_contracts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONTRACT, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "third person"}, "must be an identifier"),
        ({"crop": (200, 0, 240, 240)}, "leaves the source frame 320x240"),
        ({"crop": (-1, 0, 240, 240)}, "positive"),
        ({"width": 0}, "positive"),
        ({"height": 32}, "aspect ratio"),
    ],
)
def test_impossible_cameras_are_refused(changes: dict[str, Any], message: str) -> None:
    camera: CameraSpec = CONTRACT.cameras[0]
    with pytest.raises(ValueError, match=message):
        replace(camera, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not a YAML file"),
        ("- a", "expected a mapping"),
        ("name: x", "cameras"),
        ("name: x\ncameras: []\nspeed: 3", "speed"),
        ("name: 3\ncameras: []", "expected str, got 3"),
        ("name: x\ncameras: []\ncontrol_rate_hz: fast", "expected a number, got 'fast'"),
        ("name: x\ncameras: []\ncontrol_rate_hz: .nan", "expected a finite number"),
        ("name: x\ncameras: []\nhorizon: true", "expected int, got True"),
        ("name: x\ncameras: []\naction_frame: tool", "tool"),
    ],
)
def test_bad_files_are_refused_with_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text(text)
    with pytest.raises(spec.SpecError, match=message) as caught:
        load_contract(tmp_path / "contract.yaml")
    assert "contract.yaml" in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match=r"none\.yaml.*Check the path"):
        load_contract(tmp_path / "none.yaml")


def test_saving_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    spec.save(CONTRACT, tmp_path / "contract.yaml")
    with pytest.raises(Exception, match="represent"):
        spec.save(replace(CONTRACT, name=object()), tmp_path / "contract.yaml")
    assert load_contract(tmp_path / "contract.yaml") == CONTRACT


def test_initial_conditions_round_trip_and_are_checked(tmp_path: Path) -> None:
    condition = InitialCondition(
        name="a",
        task="pick_place",
        objects=(ObjectPose(name="cube", position_m=(0.5, 0.0, 0.02)),),
        tcp_position_m=(0.4, 0.0, 0.3),
    )
    spec.save(condition, tmp_path / "condition.yaml")
    assert spec.load(InitialCondition, tmp_path / "condition.yaml") == condition
    assert condition.objects[0].T_base_object[:3, 3].tolist() == [0.5, 0.0, 0.02]
    for changes, message in (
        ({"drawer_open": 1.5}, r"drawer_open must be in \[0, 1\], got 1.5"),
        ({"objects": condition.objects * 2}, "names must be distinct"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(condition, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="norm 2"):
        ObjectPose(name="cube", position_m=(0, 0, 0), quaternion_wxyz=(2, 0, 0, 0))
