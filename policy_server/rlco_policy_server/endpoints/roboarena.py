"""The RoboArena variant of openpi's protocol, at `/roboarena` (at `/` if the server is told so).

Each request says `endpoint: infer | reset`. The metadata is RoboArena's six fields and nothing
else, because its client builds its configuration from exactly these. The reply to `infer` is one
array `(executed_steps, 7)` in RoboArena's `cartesian_position` action space: TCP position (m),
Euler angles (rad; about the fixed x, y, z) and gripper position (1 = closed), absolute in the base
frame.

Its client executes every action of a reply before it asks again. That makes the target of the last
action the reference of the next chunk's first, as the contract's `previous_target` wants it; the
measured pose is the reference after a reset and at the start of a session.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket
from numpy.typing import NDArray
from rlco_datasets.contract import Contract
from rlco_datasets.frames import apply_delta, pose_matrix, rotation_from_6d
from scipy.spatial.transform import Rotation

from rlco_policy_server.endpoints.openpi import OpenpiConversation
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.endpoints.translate import Translated
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.wire import numpy_msgpack
from rlco_policy_server.wire.arrays import show

PATH = "/roboarena"
ENDPOINT = "roboarena"
RESET_DONE = "reset successful"


def router(gateway: Gateway, settings: EndpointSettings) -> APIRouter:
    """Return the routes of RoboArena's protocol."""
    routes = APIRouter()

    @routes.websocket(PATH)
    async def serve(socket: WebSocket) -> None:
        await RoboArenaConversation(socket, gateway, settings, settings.keymap_of(ENDPOINT)).run()

    if settings.root == ENDPOINT:
        routes.add_api_websocket_route("/", serve)
    return routes


def absolute_targets(
    reference: NDArray[np.float64], actions: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the last target `(4, 4)` and the absolute targets `(T, 7) float32` of delta actions.

    Args:
        reference: `(4, 4)`, the target before the first action, base frame.
        actions: `(T, 7)`: translation (m), rotation vector (rad), and a gripper value to pass on.
    """
    targets = np.empty((len(actions), 7), np.float32)
    for row, action in zip(targets, np.asarray(actions, float), strict=True):
        reference = apply_delta(reference, action[:6])
        row[:3] = reference[:3, 3]
        row[3:6] = Rotation.from_matrix(reference[:3, :3]).as_euler("xyz")
        row[6] = action[6]
    return reference, targets


class RoboArenaConversation(OpenpiConversation):
    """One evaluation client; it may run many sessions over one connection, one after another."""

    endpoint = ENDPOINT
    _target: NDArray[np.float64] | None = None
    _target_of = ""

    def metadata(self) -> dict[str, Any]:
        """Return RoboArena's server configuration."""
        contract = self._contract()
        cameras = {c.name: c for c in contract.cameras}
        keys = [key for key, name in self.keymap.images.items() if name in cameras]
        first = contract.cameras[0]
        return {
            "image_resolution": [first.height, first.width],
            "needs_wrist_camera": any("wrist" in key for key in keys),
            "n_external_cameras": sum("exterior" in key for key in keys),
            "needs_stereo_camera": False,
            "needs_session_id": True,
            "action_space": "cartesian_position",
        }

    async def answer(self, fields: dict[str, Any], arrived_s: float) -> str | bytes:
        """Return the reply to `infer`, or the confirmation of `reset`."""
        fields = dict(fields)
        kind = fields.pop("endpoint", "infer")
        if kind == "reset":
            self._target = None
            self.gateway.reset(self._target_of or self.session)
            return RESET_DONE
        if kind != "infer":
            raise RequestError(
                400,
                "malformed_body",
                f"endpoint is {show(kind)}.",
                "Send endpoint 'infer' or 'reset'.",
            )
        self._contract()
        done = await self.ask(fields, arrived_s, needs_state=True)
        if self._target is None or done.reply.session != self._target_of:
            self._target = _measured_pose(done)
            self._target_of = done.reply.session
        executed = done.reply.actions[: done.contract.executed_steps].copy()
        executed[:, 6] = done.actions[: len(executed), 6]
        self._target, targets = absolute_targets(self._target, executed)
        return numpy_msgpack.pack(targets)

    def _contract(self) -> Contract:
        """Return the policy's contract; raises `RequestError` if RoboArena cannot express it."""
        contract = self.gateway.policy(self.policy).policy.contract
        sizes = {(camera.height, camera.width) for camera in contract.cameras}
        problems = self.keymap.problems(contract)
        if len(sizes) > 1:
            problems.append(f"cameras: one resolution for all -> {sorted(sizes)}")
        if contract.state_layout[:2] != ("tcp_position", "tcp_rotation_6d"):
            problems.append(f"state_layout: a TCP pose first -> {contract.state_layout}")
        if problems:
            raise RequestError(
                409,
                "contract_mismatch",
                f"No RoboArena client can use contract {contract.name!r}: {'; '.join(problems)}.",
                "Serve a policy of a contract that fits, or name its cameras in the key map.",
            )
        return contract


def _measured_pose(done: Translated) -> NDArray[np.float64]:
    state = done.state.astype(np.float64)
    return np.asarray(pose_matrix(state[:3], rotation_from_6d(state[3:9])), np.float64)
