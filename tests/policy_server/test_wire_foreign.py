"""The bounded decoders of other people's formats, against those people's own encoders."""

from __future__ import annotations

import json
from typing import Any

import json_numpy
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openpi_client import msgpack_numpy
from rlco_policy_server.wire import jpeg, numpy_json, numpy_msgpack, stream
from rlco_policy_server.wire.arrays import MAX_MESSAGE_BYTES, WireError

dtypes = st.sampled_from(["|u1", "|b1", "<i4", "<i8", "<f4", "<f8"])
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=4)))


@given(arrays)
def test_openpis_arrays_are_read_and_ours_are_read_by_openpi(array: Any) -> None:
    ours = numpy_msgpack.unpack(msgpack_numpy.packb({"x": array}), what="test")["x"]
    theirs = msgpack_numpy.unpackb(numpy_msgpack.pack({"x": array}))["x"]
    for read in (ours, theirs):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


@given(arrays)
def test_json_numpys_arrays_are_read_and_ours_by_json_numpy(array: Any) -> None:
    ours = numpy_json.loads(json_numpy.dumps({"x": array}).encode(), what="test").fields["x"]
    theirs = json_numpy.loads(numpy_json.dumps({"x": array}))["x"]
    for read in (ours, theirs):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_numpy_scalars_are_read() -> None:
    scalars = {"a": np.float32(1.5), "b": np.int64(-3), "c": np.bool_(True)}
    assert numpy_msgpack.unpack(msgpack_numpy.packb(scalars), what="test") == scalars


def packed_array(**changes: Any) -> bytes:
    array = {b"__ndarray__": True, b"dtype": "<f4", b"shape": [2], b"data": bytes(8)}
    changed = array | {key.encode(): value for key, value in changes.items()}
    return bytes(msgpack.packb({"x": {k: v for k, v in changed.items() if v is not None}}))


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (packed_array(dtype="|O"), "dtype '|O'"),
        (packed_array(dtype="<c8"), "dtype"),
        (packed_array(dtype="|V4"), "dtype"),
        (packed_array(dtype=["<f4"]), "dtype"),
        (packed_array(shape=[3]), "needs 12"),
        (packed_array(shape=[-1]), "positive"),
        (packed_array(shape=[2, 1, 1, 1, 1]), "at most 4"),
        (packed_array(shape=[2**40, 2**40]), "needs"),
        (packed_array(data="text"), "needs 8"),
        (packed_array(data=None), "expected the keys"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"dtype": "|u1", b"data": 300}}), "no |u1"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"dtype": "<f4", b"data": "x"}}), "no <f4"),
        (msgpack.packb({b"x": 1}), "text keys"),
        (msgpack.packb([1]), "text keys"),
        (b"\xdd\xff\xff\xff\xff", "not an acceptable"),
        (b"\xdd\x00\x00\x00\x40" * 2000, "not an acceptable"),
        (b"", "not an acceptable"),
        (b"\x80" * (MAX_MESSAGE_BYTES + 1), "at most"),
    ],
)
def test_unacceptable_msgpack_is_refused(body: bytes, match: str) -> None:
    with pytest.raises(WireError, match=match.replace("|", r"\|")):
        numpy_msgpack.unpack(body, what="test")


def json_array(**changes: Any) -> str:
    array = {"__numpy__": "AAAAAAAAAAA=", "dtype": "<f4", "shape": [2]}
    return json.dumps({"x": array | changes})


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (json_array(dtype="|O"), "dtype"),
        (json_array(dtype=[["a", "<f4"]]), "dtype"),
        (json_array(shape=[3]), "needs 12"),
        (json_array(shape=[0]), "positive"),
        (json_array(shape=None), "positive"),
        (json_array(shape=[10**15]), "needs"),
        (json_array(__numpy__="!"), "base64"),
        (json_array(__numpy__=3), "no text"),
        (json_array(more=1), "expected the keys"),
        ('{"x": NaN}', "not JSON"),
        ('{"x": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "JSON object"),
        ("[" * 3000, "not JSON"),
        ("[" * 5000, "at most"),
        (json.dumps({"x": list(range(5000))}), "json-numpy"),
        (json.dumps({"x": "y" * 20_000}), "too long"),
        (r'{"\ud800": 1}', "not JSON"),
        ('{"x": ' + "[" * 9 + "]" * 9 + "}", "inside one another"),
        ('{"encoded": "{"}', "not JSON"),
        ('{"encoded": {}}', "must be JSON text"),
        ("\xff", "JSON"),
        (" " * (MAX_MESSAGE_BYTES + 1), "at most"),
    ],
)
def test_unacceptable_json_is_refused(body: str, match: str) -> None:
    with pytest.raises(WireError, match=match):
        numpy_json.loads(body.encode("latin-1"), what="test")


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_jpeg_keeps_size_and_nearly_the_colours(image: Any) -> None:
    flat = np.broadcast_to(image[:1, :1], image.shape).copy()  # JPEG is for images, not for noise
    there = jpeg.decode_jpeg(jpeg.encode_jpeg(flat, 95), field="test")
    assert there.shape == image.shape
    assert np.abs(there.astype(int) - flat).max() <= 4


def jpeg_header(height: int, width: int, marker: int = 0xC0) -> bytes:
    frame = bytes([8, *height.to_bytes(2, "big"), *width.to_bytes(2, "big"), 3, *range(9)])
    length = (len(frame) + 2).to_bytes(2, "big")
    return b"\xff\xd8\xff\xff" + bytes([marker]) + length + frame + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (jpeg_header(65535, 65535), "65535x65535"),
        (jpeg_header(4000, 4000), "pixels are accepted"),
        (jpeg_header(0, 10), "at most"),
        (jpeg_header(64, 64), "damaged"),
        (jpeg_header(64, 64, 0xC2), "progressive"),
        (b"\xff\xd8\xff\xda\x00\x02" + bytes(20), "not a JPEG"),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), "not a JPEG"),
        (b"\xff\xd8" + bytes(20), "not a JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not a JPEG"),
        ("text", "must be msgpack bin"),
    ],
)
def test_dangerous_jpegs_are_refused_before_they_are_decoded(data: Any, match: str) -> None:
    with pytest.raises(WireError, match=match):
        jpeg.decode_jpeg(data, field="test")


def test_a_cut_off_jpeg_is_refused() -> None:
    data = jpeg.encode_jpeg(np.zeros((32, 32, 3), np.uint8), 90)
    with pytest.raises(WireError, match="cut off"):
        jpeg.decode_jpeg(data[:-1], field="test")


def test_only_rgb_is_encoded_as_jpeg() -> None:
    with pytest.raises(WireError, match=r"float64 \(3, 3\)"):
        jpeg.encode_jpeg(np.zeros((3, 3)), 90)  # type: ignore[arg-type]


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=128))
def test_questions_survive_the_stream(session: str) -> None:
    ask = stream.Ask(ask="reset", session=session)
    assert stream.decode_ask(stream.encode(ask)) == ask
    assert stream.decode_answer(stream.encode_reset(session)) == session


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", '{"ask": "quit"}', '{"ask": "reset"}', "[" * 5000),
        *('{"ask": "metadata", "session": "x"}', '{"ask": "reset", "session": 3}', "x" * 70_000),
    ],
)
def test_other_texts_are_no_questions(text: str) -> None:
    with pytest.raises(WireError, match="text frame"):
        stream.decode_ask(text)
