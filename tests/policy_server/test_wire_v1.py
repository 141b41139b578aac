from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from fakes.policies import make_request
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rlco_datasets import spec
from rlco_datasets.contract import Contract, franka_compact
from rlco_policy_server.wire import v1
from rlco_policy_server.wire.arrays import (
    DTYPES,
    MAX_MESSAGE_BYTES,
    WireError,
    decode_array,
    encode_array,
    pack,
    unpack,
)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
whole = st.integers(0, 2**63 - 1)
images = st.dictionaries(
    texts.filter(bool),
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3))),
    min_size=1,
    max_size=4,
)
finite = st.floats(-1e6, 1e6, width=32)
requests = st.builds(
    v1.InferRequest,
    images=images,
    state=hnp.arrays(np.float32, st.integers(1, 20), elements=finite),
    instruction=texts,
    session=texts,
    step=whole,
    stamp_ns=whole,
    contract_id=texts,
    policy=st.none() | texts,
    contract=st.none() | st.just(spec.to_plain(franka_compact())),
)


@given(requests)
def test_requests_survive_the_wire(request: v1.InferRequest) -> None:
    there = v1.decode_request(v1.encode_request(request))
    assert list(there.images) == list(request.images)
    for name, image in request.images.items():
        np.testing.assert_array_equal(there.images[name], image)
    np.testing.assert_array_equal(there.state, request.state)
    for field in ("instruction", "session", "step", "stamp_ns", "contract_id", "policy"):
        assert getattr(there, field) == getattr(request, field)
    if request.contract is not None:
        assert spec.from_plain(Contract, there.contract, where="") == franka_compact()


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 16), st.just(7)), elements=finite),
    whole,
    texts,
)
def test_replies_survive_the_wire(actions: Any, stamp_ns: int, text: str) -> None:
    reply = v1.Reply(
        actions=actions,
        target_times_ns=np.full(len(actions), stamp_ns, np.int64),
        policy_id=text,
        session=text,
        step=stamp_ns,
        timing=v1.Timing(queue_ms=0.1, infer_ms=2.5, total_ms=3.0),
    )
    there = v1.decode_reply(v1.encode_reply(reply))
    np.testing.assert_array_equal(there.actions, actions)
    np.testing.assert_array_equal(there.target_times_ns, reply.target_times_ns)
    assert (there.policy_id, there.session, there.step) == (text, text, stamp_ns)
    assert there.timing == reply.timing
    assert there.infer_ms == 2.5


@given(st.sampled_from(list(DTYPES.values())), st.data())
def test_arrays_of_every_layout_survive(dtype: np.dtype[Any], data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5)))
    for layout in (
        array,
        np.asfortranarray(array),
        array[::-1],
        array.astype(dtype.newbyteorder(">")),
    ):
        message = unpack(pack({"a": encode_array(layout)}), what="test")
        np.testing.assert_array_equal(decode_array(message["a"], field="a"), layout)


def test_decoded_images_are_views_of_the_message() -> None:
    body = v1.encode_request(make_request(franka_compact()))
    image = v1.decode_request(body).images["third_person"]
    assert np.shares_memory(image, np.frombuffer(body, np.uint8))
    assert not image.flags.writeable


@pytest.mark.parametrize("size", [100, 30_000, 40_000, 200_000])
def test_large_arrays_are_lifted_out_and_put_back(size: int) -> None:
    pixels = np.arange(size, dtype=np.uint32).astype(np.uint8)
    message = {"a": {"b": encode_array(pixels)}, "data": "data\u0181 text", "c": [1.5, None]}
    lifted = unpack(pack(message), what="test")
    assert (lifted["data"], lifted["c"]) == (message["data"], message["c"])
    np.testing.assert_array_equal(decode_array(lifted["a"]["b"], field="b"), pixels)


@pytest.mark.parametrize("kind", [0x41, 5, -1])
@pytest.mark.parametrize("size", [100, 40_000])
def test_extensions_of_clients_are_refused_or_harmless(kind: int, size: int) -> None:
    array = encode_array(np.zeros(size, np.uint8))
    head = msgpack.packb({"x": 0})[:-1] + b"\xd4" + bytes((kind & 0xFF, 7))
    body = b"\x82" + head[1:] + msgpack.packb("y") + pack(array)
    with pytest.raises(WireError, match="msgpack"):
        unpack(body, what="test")


def decode_or_refuse(body: bytes) -> None:
    for decode in (v1.decode_request, v1.decode_reply):
        refusal = ""
        try:
            decode(body)
        except WireError as error:
            refusal = str(error)
        assert len(refusal) < 2000  # it never echoes megabytes


@given(requests, st.data())
def test_damaged_messages_raise_nothing_but_wire_errors(
    request: v1.InferRequest, data: st.DataObject
) -> None:
    body = bytearray(v1.encode_request(request))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(WireError):
        v1.decode_request(bytes(body[:cut]))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decode_or_refuse(bytes(body))


@given(st.binary(max_size=200))
def test_noise_raises_nothing_but_wire_errors(body: bytes) -> None:
    decode_or_refuse(body)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(st.sampled_from([*v1.REQUEST_FIELDS, *v1.OPTIONAL_FIELDS]), plain)
def test_any_value_in_any_field_raises_nothing_but_wire_errors(field: str, value: Any) -> None:
    message = msgpack.unpackb(v1.encode_request(make_request(franka_compact())))
    decode_or_refuse(msgpack.packb(message | {field: value}))


@given(st.sampled_from(["dtype", "shape", "data"]), plain)
def test_any_value_in_an_array_raises_nothing_but_wire_errors(field: str, value: Any) -> None:
    array = encode_array(np.zeros((2, 3), np.float32)) | {"data": bytes(24)}
    refusal = "a: "
    try:
        decode_array(array | {field: value}, field="a")
    except WireError as error:
        refusal = str(error)
    assert refusal.startswith("a: ")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        ({"dtype": "|O", "shape": [1], "data": b"12345678"}, r"dtype '\|O' is not accepted"),
        ({"dtype": "<c8", "shape": [1], "data": b"12345678"}, "is not accepted"),
        ({"dtype": "<M8[ns]", "shape": [1], "data": b"12345678"}, "is not accepted"),
        ({"dtype": "<f4", "shape": [3], "data": b"12345678"}, "holds 8 bytes.*needs 12"),
        ({"dtype": "<f4", "shape": [2**62, 4], "data": b""}, "holds 0 bytes"),
        ({"dtype": "<f4", "shape": [0, 2**62], "data": b""}, "positive integers"),
        ({"dtype": "<f4", "shape": [-1], "data": b"1234"}, "positive integers"),
        ({"dtype": "<f4", "shape": [True], "data": b"1234"}, "positive integers"),
        ({"dtype": "<f4", "shape": [1] * 5, "data": b"1234"}, "1 to 4"),
        ({"dtype": "<f4", "shape": [1], "data": "1234"}, "must be msgpack bin"),
        ({"dtype": "<f4", "shape": [1]}, "expected an array as a map"),
    ],
)
def test_impossible_arrays_are_refused_by_name(array: dict[str, Any], match: str) -> None:
    with pytest.raises(WireError, match=rf"state: .*{match}"):
        decode_array(array, field="state")


def test_object_arrays_are_not_sent() -> None:
    with pytest.raises(WireError, match="dtype object cannot be sent"):
        encode_array(np.array([object()]))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",  # a list that claims 4 G items
        b"\xdf\xff\xff\xff\xff",  # a map that does
        b"\xdd\x00\x00\x00\x40" * 2000,  # lists in lists in lists
        b"\xc9\x00\x00\x00\x04\x01abcd",  # an extension type
        b"\x81\xc4\x01a\x01",  # a map keyed by bytes
        b"\x81\x90\x01",  # a map keyed by a list
        b"\x80\x80",  # two messages
        b"\xa1\xff",  # text that is not UTF-8
    ],
)
def test_msgpack_bombs_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        v1.decode_request(body)


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(WireError, match="at most"):
        v1.decode_request(b"\x80" * (MAX_MESSAGE_BYTES + 1))


def test_a_misspelt_field_is_named() -> None:
    message = msgpack.unpackb(v1.encode_request(make_request(franka_compact())))
    message["instructoin"] = message.pop("instruction")
    with pytest.raises(WireError, match=r"missing fields \['instruction'\].*\['instructoin'\]"):
        v1.decode_request(msgpack.packb(message))


def test_too_many_cameras_are_refused() -> None:
    pixel = np.zeros((1, 1, 3), np.uint8)
    request = make_request(franka_compact(), images={f"c{i}": pixel for i in range(17)})
    with pytest.raises(WireError, match="1 to 16 cameras"):
        v1.decode_request(v1.encode_request(request))
