"""The clients that labs already have, unmodified, against a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import json_numpy
import numpy as np
import pytest
import requests
from fakes.policies import BrokenPolicy, CountingPolicy, running_server, started_gateway
from openpi_client import msgpack_numpy
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from rlco_datasets.contract import CameraSpec, Contract
from rlco_datasets.frames import apply_delta, pose_matrix
from rlco_policy_server.checkpoints import load_checkpoints
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_trainer import __version__
from rlco_trainer.checkpoint import Lineage, save_policy
from rlco_trainer.policies.families import build_policy
from rlco_trainer.policies.presets import preset_named
from rlco_trainer.untrained import nominal_normalisation
from scipy.spatial.transform import Rotation

FRAME = np.full((64, 64, 3), 51, np.uint8)
TCP = np.array([0.45, 0.1, 0.3])
TOOL_DOWN = np.array([3.0, 0.1, -0.2])


def connect(url: str, path: str = "") -> WebsocketClientPolicy:
    parts = urlsplit(url)
    if path:
        return WebsocketClientPolicy(f"ws://{parts.netloc}{path}")
    return WebsocketClientPolicy(parts.hostname, parts.port)


@pytest.fixture
def policy(contract: Contract) -> CountingPolicy:
    return CountingPolicy(contract)


@pytest.fixture
def url(policy: CountingPolicy, contract: Contract) -> Iterator[str]:
    settings = EndpointSettings(keymap=("openpi=libero",))
    with started_gateway(policy) as gateway, running_server(gateway, settings) as url:
        yield url


def libero(**changes: Any) -> dict[str, Any]:
    state = np.concatenate([TCP, Rotation.from_euler("xyz", TOOL_DOWN).as_rotvec(), [0.04, -0.04]])
    return {
        "observation/image": FRAME,
        "observation/wrist_image": FRAME,
        "observation/state": state,
        "prompt": "push the cube",
    } | changes


def test_openpi_client_gets_a_chunk_in_the_contracts_units(
    url: str, contract: Contract, policy: CountingPolicy
) -> None:
    client = connect(url)
    metadata = client.get_server_metadata()
    assert metadata["contract_id"] == contract.id
    assert metadata["normalisation_id"] == "normalisation0"
    assert metadata["horizon"] == contract.horizon
    assert "1 = open" in metadata["action"]["6"]
    assert metadata["problems"] == []
    for _ in range(2):
        answer = client.infer(libero())
        # the fake policy answers with the images' brightness and the state's first number
        np.testing.assert_allclose(answer["actions"][:, :2], [[0.2, 0.45]] * 4, atol=1e-6)
        assert answer["actions"].dtype == np.float32
        assert answer["policy_timing"]["infer_ms"] >= 0
    assert answer["server_timing"]["prev_total_ms"] > 0
    assert policy.instructions[-1] == "push the cube"


def test_openpi_broker_hands_out_the_chunk_action_by_action(
    url: str, policy: CountingPolicy, contract: Contract
) -> None:
    broker = ActionChunkBroker(connect(url), action_horizon=contract.executed_steps)
    asked = len(policy.instructions)
    for _ in range(2 * contract.executed_steps):
        assert broker.infer(libero())["actions"].shape == (7,)
    assert len(policy.instructions) == asked + 2


@pytest.mark.parametrize(
    ("observation", "match"),
    [
        (libero(prompt=3), "prompt: 3; text"),
        (libero(extra=1), "'extra': unknown"),
        (libero(**{"observation/image": FRAME[..., 0]}), r"observation/image: uint8 \(64, 64\)"),
        (libero(**{"observation/image": FRAME[:9]}), "64x9"),
        (libero(**{"observation/state": np.zeros(7)}), r"float64 \(7,\) is not float \(8,\)"),
        (libero(**{"observation/state": np.full(8, np.nan)}), "NaN"),
        (libero(contract_id="another"), "contract_mismatch"),
    ],
)
def test_openpi_client_is_told_what_does_not_fit(
    url: str, observation: dict[str, Any], match: str
) -> None:
    with pytest.raises(RuntimeError, match=match):
        connect(url).infer(observation)
    assert connect(url).infer(libero())["actions"].shape == (4, 7)  # the server lives on


def test_openpi_client_chooses_a_policy_by_its_url(contract: Contract) -> None:
    policies = CountingPolicy(contract), CountingPolicy(contract)
    settings = EndpointSettings(keymap=("openpi=libero",))
    with started_gateway(*policies) as gateway, running_server(gateway, settings) as url:
        client = connect(url, "/?policy=policy1")
        assert client.get_server_metadata()["policy_id"] == "checkpoint1"
        assert client.infer(libero())["policy_id"] == "checkpoint1"
        lost = connect(url, "/openpi?policy=policy2")
        assert "policy2" in lost.get_server_metadata()["error"]
        with pytest.raises(RuntimeError, match="unknown_policy"):
            lost.infer(libero())


def test_a_policy_that_fails_is_an_error_frame(contract: Contract) -> None:
    settings = EndpointSettings(keymap=("openpi=libero",))
    policy = BrokenPolicy(contract, np.full((1, 4, 7), np.nan, np.float32))
    with started_gateway(policy) as gateway, running_server(gateway, settings) as url:
        with pytest.raises(RuntimeError, match="non_finite_action"):
            connect(url).infer(libero())
        response = requests.post(f"{url}/act", data=act_body(), timeout=60)
        assert (response.status_code, response.json()["error"]) == (500, "non_finite_action")


class DeltaPolicy(CountingPolicy):
    """Moves 1 cm along x and turns 0.1 rad about z in every step, gripper open."""

    def infer(
        self, images: dict[str, Any], state: Any, instructions: list[str]
    ) -> np.ndarray[Any, Any]:
        actions = super().infer(images, state, instructions)
        actions[...] = [0.01, 0, 0, 0, 0, 0.1, 1.0]
        return actions


@pytest.fixture
def roboarena(contract: Contract) -> Iterator[WebsocketClientPolicy]:
    wrist = CameraSpec(
        name="wrist", source_width=64, source_height=64, crop=(0, 0, 64, 64), width=64, height=64
    )
    contract = replace(contract, cameras=(*contract.cameras, wrist), executed_steps=2)
    settings = EndpointSettings(root="roboarena")
    with (
        started_gateway(DeltaPolicy(contract)) as gateway,
        running_server(gateway, settings) as url,
    ):
        yield connect(url)


def droid(session: str, position: np.ndarray[Any, Any] = TCP) -> dict[str, Any]:
    return {
        "endpoint": "infer",
        "observation/exterior_image_0_left": FRAME,
        "observation/wrist_image_left": FRAME,
        "observation/joint_position": np.zeros(7, np.float32),
        "observation/cartesian_position": np.concatenate([position, TOOL_DOWN]),
        "observation/gripper_position": np.zeros(1, np.float32),
        "session_id": session,
        "prompt": "push the cube",
    }


def reset_roboarena(client: WebsocketClientPolicy) -> str:
    # RoboArena's client differs from openpi's in this one message
    client._ws.send(msgpack_numpy.packb({"endpoint": "reset"}))
    return client._ws.recv()


def test_roboarena_metadata_is_its_six_fields(roboarena: WebsocketClientPolicy) -> None:
    assert roboarena.get_server_metadata() == {
        "image_resolution": [64, 64],
        "needs_wrist_camera": True,
        "n_external_cameras": 1,
        "needs_stereo_camera": False,
        "needs_session_id": True,
        "action_space": "cartesian_position",
    }


def test_roboarena_refuses_a_contract_that_it_cannot_express(contract: Contract) -> None:
    side = replace(contract.cameras[0], name="side")
    policy = DeltaPolicy(replace(contract, cameras=(side,)))
    with started_gateway(policy) as gateway, running_server(gateway) as url:
        client = connect(url, "/roboarena")
        assert "images.side: not in the map" in client.get_server_metadata()["error"]
        with pytest.raises(RuntimeError, match=r"images\.side"):
            client.infer(droid("a"))


def test_roboarena_targets_go_on_from_the_last_target(roboarena: WebsocketClientPolicy) -> None:
    start = pose_matrix(TCP, Rotation.from_euler("xyz", TOOL_DOWN).as_matrix())
    step = np.array([0.01, 0, 0, 0, 0, 0.1])
    expected = [start]
    for _ in range(4):
        expected.append(apply_delta(expected[-1], step))

    def poses(actions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        assert actions.shape == (2, 7)
        np.testing.assert_array_equal(actions[:, 6], 0)  # 0 is open here
        return pose_matrix(actions[:, :3], Rotation.from_euler("xyz", actions[:, 3:6]).as_matrix())

    np.testing.assert_allclose(poses(roboarena.infer(droid("a"))), expected[1:3], atol=1e-6)
    lagging = droid("a", TCP + 0.004)  # the arm never quite reaches its target
    np.testing.assert_allclose(poses(roboarena.infer(lagging)), expected[3:5], atol=1e-6)
    assert reset_roboarena(roboarena) == "reset successful"
    np.testing.assert_allclose(poses(roboarena.infer(droid("a"))), expected[1:3], atol=1e-6)
    np.testing.assert_allclose(poses(roboarena.infer(droid("b"))), expected[1:3], atol=1e-6)


def act_body(**changes: Any) -> str:
    state = np.concatenate([TCP, [1, 0, 0, 0, -1, 0], [0.08]])
    observation = {"image": FRAME, "instruction": "push the cube", "state": state}
    return json_numpy.dumps(observation | changes)


def oft_observation() -> dict[str, Any]:
    return {
        "full_image": FRAME,
        "left_wrist_image": FRAME,
        "state": libero()["observation/state"],
        "instruction": "push the cube",
    }


@pytest.fixture
def patched_json() -> Iterator[None]:
    """Patch json as OpenVLA's users do, and put it back."""
    names = ("dumps", "loads", "dump", "load")
    originals = {name: getattr(json, name) for name in names}
    json_numpy.patch()
    yield
    for name, original in originals.items():
        setattr(json, name, original)


@pytest.mark.usefixtures("patched_json")
def test_openvla_users_get_an_action(url: str) -> None:
    state = np.concatenate([TCP, [1, 0, 0, 0, -1, 0], [0.08]])
    action = requests.post(
        f"{url}/act",
        json={"image": FRAME, "instruction": "push the cube", "state": state},
        timeout=60,
    ).json()
    assert isinstance(action, np.ndarray)
    np.testing.assert_allclose(action[:2], [0.2, 0.45], atol=1e-6)
    assert action.shape == (7,)


def test_openvla_users_may_encode_twice(url: str) -> None:
    response = requests.post(f"{url}/act", json={"encoded": act_body()}, timeout=60)
    action = json_numpy.loads(response.json())
    assert action.shape == (7,)


@pytest.mark.usefixtures("patched_json")
def test_oft_users_get_a_list_of_actions(url: str, contract: Contract) -> None:
    for payload in (oft_observation(), {"encoded": json_numpy.dumps(oft_observation())}):
        actions = requests.post(f"{url}/act", json=payload, timeout=60).json()
        if isinstance(actions, str):
            actions = json_numpy.loads(actions)
        assert isinstance(actions, list)
        assert [action.shape for action in actions] == [(7,)] * contract.horizon


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (act_body(unnorm_key="bridge_orig"), 422, "bridge_orig"),
        (act_body(state=None), 422, "state"),
        (json_numpy.dumps({"instruction": "x"}), 422, "image: missing"),
        (json.dumps({"image": FRAME.tolist(), "instruction": "x"}), 400, "json-numpy"),
        ("{", 400, "not JSON"),
        ("[]", 400, "JSON object"),
        (json.dumps({"encoded": 3}), 400, "encoded"),
        (json.dumps({"image": "\ud800", "instruction": "x"}), 400, "surrogate"),
        ("[" * 100_000, 400, "at most"),
        ('{"a":' * 2000, 400, "not JSON"),
        (act_body(state=np.zeros(10, complex)), 400, "dtype"),
    ],
)
def test_openvla_users_are_told_what_is_wrong(url: str, body: str, status: int, says: str) -> None:
    response = requests.post(f"{url}/act", data=body, timeout=60)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "detail", "remedy"}
    assert says in response.json()["detail"]


@pytest.mark.parametrize("key", ["default", "normalisation0", "franka_compact"])
def test_an_unnorm_key_that_names_what_is_served_is_fine(url: str, key: str) -> None:
    response = requests.post(f"{url}/act", data=act_body(unnorm_key=key), timeout=60)
    assert response.status_code == 200, response.text


def test_openvlas_own_message_is_enough_for_an_openvla_policy(
    tmp_path: Path, contract: Contract
) -> None:
    # The published model sees no state; a tiny preset's stem does.
    architecture = preset_named("openvla-tiny").architecture() | {"stem": []}
    policy = build_policy("openvla", contract, nominal_normalisation(contract), architecture)
    lineage = Lineage(stage="init", software_version=__version__)
    checkpoint_id = save_policy(tmp_path / "openvla", policy, lineage)
    (served,) = load_checkpoints({"default": tmp_path / "openvla"}, torch_threads=1)
    with started_gateway(served.policy) as gateway, running_server(gateway) as url:
        body = json_numpy.dumps({"image": FRAME, "instruction": "push the cube"})  # no state
        response = requests.post(f"{url}/act", data=body, timeout=60)
    assert response.status_code == 200, response.text
    action = json_numpy.loads(response.text)
    assert action.shape == (7,)
    assert np.isfinite(action).all()
    assert served.policy_id == checkpoint_id
