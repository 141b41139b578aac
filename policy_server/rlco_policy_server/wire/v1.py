"""Our own messages, of `POST /v1/infer` and `/v1/stream`: observation in, chunk of actions out.

Request, as msgpack: `images` {camera: uint8 (H, W, 3) RGB, source frame or policy image, or the map
`{"jpeg": <bin>}`}, `state` (S,) float,
`instruction`, `session`, `step`, `stamp_ns` (capture time of the observation), `contract_id`, and
optionally `policy` (an alias), `contract` (in full, so that a refusal can name what differs),
`deadline_s` (an answer later than this after arrival is of no use), and for real-time chunking
`prefix` (K, 7) float (the actions not yet executed when the observation was captured) with
`delay_s` (how long an answer takes to arrive, as the client measured it).

Reply: `actions` (horizon, 7) float32, `target_times_ns` (horizon,) int64, `policy_id`, `session`
and `step` of the request it answers, `timing` {queue_ms, infer_ms, total_ms}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import ACTION_DIM

from rlco_policy_server.wire.arrays import (
    MAX_MESSAGE_BYTES,
    Parts,
    WireError,
    decode_array,
    encode_array,
    pack,
    pack_parts,
    show,
    unpack,
)
from rlco_policy_server.wire.jpeg import decode_jpeg, encode_jpeg

CONTENT_TYPE = "application/msgpack"
MAX_CAMERAS = 16
MAX_NAME = 128
MAX_INSTRUCTION = 4096
MAX_INT = 2**63 - 1
MAX_WAIT_S = 600.0
REQUEST_FIELDS = ("images", "state", "instruction", "session", "step", "stamp_ns", "contract_id")
OPTIONAL_FIELDS = ("policy", "contract", "deadline_s", "prefix", "delay_s")
REPLY_FIELDS = ("actions", "target_times_ns", "policy_id", "session", "step", "timing")


@dataclass(frozen=True, kw_only=True, eq=False)
class InferRequest:
    """One observation, as it came over the wire: well-formed, not yet checked against a contract.

    `state` is `(S,) float32` in the contract's layout; `stamp_ns` is when the observation was
    captured, on the client's clock. `deadline_s` counts from arrival. `prefix` is `(K, 7) float32`,
    contract units: what the client executes from the capture on as long as no answer comes;
    `delay_s` is the latency it measured. An empty `session` belongs to no session.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    instruction: str
    session: str
    step: int
    stamp_ns: int
    contract_id: str
    policy: str | None = None
    contract: Mapping[str, Any] | None = None
    deadline_s: float | None = None
    prefix: NDArray[np.float32] | None = None
    delay_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the server spent its time, milliseconds."""

    queue_ms: float
    infer_ms: float
    total_ms: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Reply:
    """One chunk: `actions` (horizon, 7) float32 as the contract says, and what produced it.

    `target_times_ns[i]` (client's clock) is when action i is to take effect: the observation's
    capture stamp plus i control periods.
    """

    actions: NDArray[np.float32]
    target_times_ns: NDArray[np.int64]
    policy_id: str
    session: str
    step: int
    timing: Timing

    @property
    def infer_ms(self) -> float:
        """Time inside the policy, milliseconds."""
        return self.timing.infer_ms


def encode_request(request: InferRequest, *, jpeg_quality: int | None = None) -> bytes:
    """Return the body of a request; with a `jpeg_quality` (1 to 100) images travel as JPEG."""
    return b"".join(request_parts(request, jpeg_quality=jpeg_quality))


def request_parts(request: InferRequest, *, jpeg_quality: int | None = None) -> Parts:
    """Return the body of a request in parts; large images are not copied."""
    message: dict[str, Any] = {
        "images": {
            name: encode_array(image)
            if jpeg_quality is None
            else {"jpeg": encode_jpeg(image, jpeg_quality)}
            for name, image in request.images.items()
        },
        "state": encode_array(np.asarray(request.state, np.float32)),
        "instruction": request.instruction,
        "session": request.session,
        "step": request.step,
        "stamp_ns": request.stamp_ns,
        "contract_id": request.contract_id,
    }
    if request.policy is not None:
        message["policy"] = request.policy
    if request.contract is not None:
        message["contract"] = dict(request.contract)
    if request.deadline_s is not None:
        message["deadline_s"] = request.deadline_s
    if request.prefix is not None:
        message["prefix"] = encode_array(np.asarray(request.prefix, np.float32))
    if request.delay_s is not None:
        message["delay_s"] = request.delay_s
    return pack_parts(message)


def decode_request(body: bytes | memoryview) -> InferRequest:
    """Return the request that `body` holds; raises `WireError` for anything malformed."""
    message = unpack(body, what="request")
    _check_fields(message, REQUEST_FIELDS, OPTIONAL_FIELDS, what="request")
    images = message["images"]
    if not isinstance(images, dict) or not 1 <= len(images) <= MAX_CAMERAS:
        raise WireError(
            f"images: expected a map of 1 to {MAX_CAMERAS} cameras to arrays, got {show(images)}"
        )
    contract = message.get("contract")
    if contract is not None and not isinstance(contract, dict):
        raise WireError(f"contract: expected a map of its fields, got {show(contract)}")
    policy = message.get("policy")
    prefix = message.get("prefix")
    return InferRequest(
        images=_images(images),
        state=_floats(message["state"], "state", dims=1),
        instruction=_text(message["instruction"], "instruction", MAX_INSTRUCTION),
        session=_text(message["session"], "session", MAX_NAME),
        step=_whole(message["step"], "step"),
        stamp_ns=_whole(message["stamp_ns"], "stamp_ns"),
        contract_id=_text(message["contract_id"], "contract_id", MAX_NAME),
        policy=None if policy is None else _text(policy, "policy", MAX_NAME),
        contract=contract,
        deadline_s=_seconds(message.get("deadline_s"), "deadline_s"),
        prefix=None if prefix is None else _actions(prefix, "prefix"),
        delay_s=_seconds(message.get("delay_s"), "delay_s"),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return the body of a reply."""
    return pack(
        {
            "actions": encode_array(np.asarray(reply.actions, np.float32)),
            "target_times_ns": encode_array(np.asarray(reply.target_times_ns, np.int64)),
            "policy_id": reply.policy_id,
            "session": reply.session,
            "step": reply.step,
            "timing": {
                "queue_ms": reply.timing.queue_ms,
                "infer_ms": reply.timing.infer_ms,
                "total_ms": reply.timing.total_ms,
            },
        }
    )


def decode_reply(body: bytes) -> Reply:
    """Return the reply that `body` holds; raises `WireError` for anything malformed."""
    message = unpack(body, what="reply")
    _check_fields(message, REPLY_FIELDS, (), what="reply")
    timing = message["timing"]
    if not isinstance(timing, dict):
        raise WireError(f"timing: expected a map, got {show(timing)}")
    _check_fields(timing, ("queue_ms", "infer_ms", "total_ms"), (), what="timing")
    times = decode_array(message["target_times_ns"], field="target_times_ns")
    actions = _floats(message["actions"], "actions", dims=2)
    if times.dtype != np.int64 or times.shape != actions.shape[:1]:
        raise WireError(
            f"target_times_ns: expected int64 {actions.shape[:1]}, one time per action, got "
            f"{times.dtype} {times.shape}"
        )
    return Reply(
        actions=actions,
        target_times_ns=times,
        policy_id=_text(message["policy_id"], "policy_id", MAX_NAME),
        session=_text(message["session"], "session", MAX_NAME),
        step=_whole(message["step"], "step"),
        timing=Timing(**{name: _number(value, name) for name, value in timing.items()}),
    )


def _check_fields(
    message: dict[str, Any], needed: tuple[str, ...], optional: tuple[str, ...], *, what: str
) -> None:
    missing = [name for name in needed if name not in message]
    unknown = [name for name in message if name not in needed and name not in optional]
    if missing or unknown:
        raise WireError(
            f"{what}: missing fields {show(missing)}, unknown fields {show(unknown)}; it holds "
            f"{list(needed)} and may hold {list(optional)}"
        )


def _images(encoded: Mapping[str, Any]) -> dict[str, NDArray[np.uint8]]:
    images: dict[str, NDArray[np.uint8]] = {}
    total = 0
    for name, value in encoded.items():
        images[_text(name, "images", MAX_NAME)] = image = _image(name, value)
        total += image.nbytes
        if total > MAX_MESSAGE_BYTES:  # a JPEG may hold far more pixels than bytes
            raise WireError(
                f"images: over {MAX_MESSAGE_BYTES} bytes of pixels; send the contract's resolution"
            )
    return images


def _image(camera: str, value: Any) -> NDArray[np.uint8]:
    field = f"images[{camera!r}]"
    if isinstance(value, dict) and value.keys() == {"jpeg"}:
        return decode_jpeg(value["jpeg"], field=field)
    array = decode_array(value, field=field)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise WireError(
            f"{field}: expected uint8 RGB (H, W, 3), got {array.dtype} {array.shape}; convert the "
            "camera's encoding to rgb8"
        )
    return array


def _floats(value: Any, field: str, *, dims: int) -> NDArray[np.float32]:
    array = decode_array(value, field=field)
    if array.dtype.kind != "f" or array.ndim != dims:
        raise WireError(
            f"{field}: expected float32 with {dims} dimension(s), got {array.dtype} {array.shape}"
        )
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, refused later as such
        return np.asarray(array, np.float32)


def _actions(value: Any, field: str) -> NDArray[np.float32]:
    actions = _floats(value, field, dims=2)
    if actions.shape[1] != ACTION_DIM or not np.isfinite(actions).all():
        raise WireError(f"{field}: expected finite actions (n, {ACTION_DIM}), got {actions.shape}")
    return actions


def _seconds(value: Any, field: str) -> float | None:
    if value is None:
        return None
    seconds = _number(value, field)
    if not 0 <= seconds <= MAX_WAIT_S:
        raise WireError(f"{field}: expected seconds in [0, {MAX_WAIT_S}], got {show(value)}")
    return seconds


def _text(value: Any, field: str, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise WireError(f"{field}: expected text of at most {limit} characters, got {show(value)}")
    return value


def _whole(value: Any, field: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise WireError(f"{field}: expected an integer in [0, 2^63), got {show(value)}")
    return value


def _number(value: Any, field: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise WireError(f"{field}: expected a finite number, got {show(value)}")
    return float(value)
