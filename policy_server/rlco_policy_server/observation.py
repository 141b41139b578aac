"""From a well-formed request to what a policy sees, or a refusal that says what differs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import Contract, contract_from_plain
from rlco_datasets.images import ImageError, policy_image

from rlco_policy_server.errors import RequestError
from rlco_policy_server.wire.v1 import InferRequest


def require_contract(request: InferRequest, contract: Contract) -> None:
    """Refuse a client that speaks another contract.

    Raises:
        RequestError: 409, naming the differing fields if the client sent its contract.
    """
    if request.contract_id == contract.id:
        return
    if request.contract is None:
        fields = "send 'contract' in full to have the differing fields named"
    else:
        try:
            theirs = contract_from_plain(request.contract, where="contract")
        except spec.SpecError as error:
            raise RequestError(
                422, "bad_contract", str(error), "Send the contract as GET /v1/metadata shows it."
            ) from error
        fields = "; ".join(str(difference) for difference in spec.diff(theirs, contract))
        if not fields:
            fields = "none, so contract_id is not the id of the contract that was sent along"
    raise RequestError(
        409,
        "contract_mismatch",
        f"The client speaks contract {request.contract_id!r}, the policy was trained on "
        f"{contract.name!r} ({contract.id}); client -> policy: {fields}.",
        "Use the robot configuration of the policy's contract (GET /v1/metadata shows it), or "
        "serve a checkpoint of the client's.",
    )


def policy_inputs(
    request: InferRequest, contract: Contract
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
    """Return images `{camera: (1, H, W, 3) uint8}` and state `(1, S) float32`.

    Raises:
        RequestError: 422, naming the camera or state entry that breaks the contract.
    """
    if set(request.images) != set(contract.camera_names):
        raise RequestError(
            422,
            "wrong_cameras",
            f"images has cameras {sorted(request.images)}, the contract "
            f"{sorted(contract.camera_names)}.",
            "Send exactly the contract's cameras, under its names.",
        )
    if request.state.shape != (contract.state_dim,):
        raise RequestError(
            422,
            "wrong_state",
            f"state has shape {request.state.shape}, the contract says ({contract.state_dim},).",
            f"Send {' + '.join(contract.state_layout)} as float32.",
        )
    if not np.isfinite(request.state).all():
        bad = np.flatnonzero(~np.isfinite(request.state)).tolist()
        raise RequestError(
            422,
            "wrong_state",
            f"state has NaN or infinite entries at {bad}.",
            "Check the robot state topic before sending it on.",
        )
    try:
        images = {
            camera.name: policy_image(request.images[camera.name], camera)[None]
            for camera in contract.cameras
        }
    except ImageError as error:
        raise RequestError(
            422, "wrong_image", str(error), "GET /v1/metadata shows the contract."
        ) from error
    return images, request.state[None]
