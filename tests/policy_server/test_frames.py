"""Websocket frames that go the short way, held against `websockets`' own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import uvicorn
from fakes.policies import CountingPolicy, make_request, running_server, started_gateway
from hypothesis import given
from hypothesis import strategies as st
from rlco_datasets.contract import Contract
from rlco_policy_server.client.connection import StreamConnection
from rlco_policy_server.endpoints.settings import EndpointSettings
from rlco_policy_server.frame_protocol import FrameProtocol
from rlco_policy_server.wire import arrays, frames, stream, v1
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.sync.client import ClientConnection, connect
from websockets.utils import apply_mask

FAR_S = 1e6
"""A deadline on the monotonic clock that no test reaches."""

some_frames = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CONT]),
        st.one_of(st.binary(max_size=40), st.sampled_from([bytes(range(126)), bytes(70_000)])),
        st.booleans(),
    ),
    max_size=6,
)


def frame_of(code: Opcode, body: bytes, fin: bool) -> Frame:
    """Return a frame; control frames are small and whole."""
    return Frame(code, body[:125]) if code is Opcode.PING else Frame(code, body, fin=fin)


@given(some_frames, st.booleans(), st.data())
def test_what_arrives_is_split_as_it_was_sent(
    sent: list[tuple[Opcode, bytes, bool]], masked: bool, data: st.DataObject
) -> None:
    """However the network cuts it, whole binary frames are chosen and all other bytes pass on."""
    wire = [frame_of(code, body, fin).serialize(mask=masked) for code, body, fin in sent]
    is_chosen = [code is Opcode.BINARY and fin and len(body) > 0 for code, body, fin in sent]
    whole = b"".join(wire)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
    splitter = frames.Splitter(lambda header: header.first == frames.WHOLE_BINARY)
    pieces = [
        (piece.chosen, bytes(piece.data))
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for piece in splitter.split(whole[start:end])
    ]
    chosen = [body for (_, body, _), yes in zip(sent, is_chosen, strict=True) if yes]
    passed = [one for one, yes in zip(wire, is_chosen, strict=True) if not yes]
    assert [body for yes, body in pieces if yes] == chosen
    assert b"".join(body for yes, body in pieces if not yes) == b"".join(passed)


@given(st.integers(0, 70_000), st.one_of(st.just(b""), st.binary(min_size=4, max_size=4)))
def test_headers_are_those_of_websockets(size: int, mask: bytes) -> None:
    header = frames.write_header(frames.WHOLE_BINARY, size, mask)
    theirs = Frame(Opcode.BINARY, bytes(size)).serialize(mask=bool(mask))
    assert header[: len(header) - len(mask)] == theirs[: len(header) - len(mask)]
    assert frames.read_header(header) == (frames.WHOLE_BINARY, mask, size, len(header))
    assert all(frames.read_header(header[:end]) is None for end in range(len(header)))


@given(
    st.lists(st.binary(max_size=40)),
    st.sampled_from([0, 100, 200, 70_000]),
    st.binary(min_size=4, max_size=4),
)
def test_masked_frames_are_those_of_websockets(parts: list[bytes], more: int, mask: bytes) -> None:
    parts = [*parts, bytes(more)]
    frame = bytes(frames.masked_frame(parts, mask))
    payload = b"".join(parts)
    header = frames.write_header(frames.WHOLE_BINARY, len(payload), mask)
    assert frame == header + apply_mask(payload, mask)


@given(st.integers(0, 3 * arrays.MIN_PART_BYTES), st.text(max_size=10))
def test_parts_are_the_message_that_msgpack_packs(size: int, text: str) -> None:
    pixels = np.arange(size, dtype=np.uint32).astype(np.uint8)
    message = {"a": {"data": pixels.data, "shape": [size]}, "b": text, "c": 1.5}
    assert b"".join(arrays.pack_parts(message)) == msgpack.packb(message)


@contextlib.contextmanager
def connected(
    contract: Contract, settings: EndpointSettings | None = None
) -> Iterator[ClientConnection]:
    with (
        started_gateway(CountingPolicy(contract)) as gateway,
        running_server(gateway, settings) as url,
        connect(url.replace("http", "ws") + stream.PATH, compression=None) as connection,
    ):
        assert isinstance(connection.recv(120), str)  # the metadata
        yield connection


def test_a_message_in_fragments_is_answered_like_a_whole_one(contract: Contract) -> None:
    with connected(contract) as connection:
        replies = []
        body = v1.encode_request(make_request(contract))
        parts: list[bytes | list[bytes]] = [body, [body[:10], body[10:]], body]
        for message in parts:
            connection.send(message)
            connection.ping()
            reply = connection.recv(120)
            assert isinstance(reply, bytes)
            replies.append(v1.decode_reply(reply))
    assert np.array_equal(replies[0].actions, replies[1].actions)
    assert np.array_equal(replies[0].actions, replies[2].actions)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.BINARY, bytes(1000)).serialize(mask=False), 1002),
        (frames.write_header(frames.WHOLE_BINARY, 1 << 62, b"mask"), 1009),
        (b"\xc2\x81mask?", 1002),  # an extension that was not agreed on
        (
            Frame(Opcode.BINARY, b"a", fin=False).serialize(mask=True)
            + Frame(Opcode.BINARY, b"b").serialize(mask=True),
            1002,
        ),
        (Frame(Opcode.TEXT, b"\xff").serialize(mask=True), 1007),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(
    contract: Contract, frame: bytes, code: int
) -> None:
    with connected(contract) as connection:
        connection.socket.sendall(frame)
        with pytest.raises(ConnectionClosed) as ended:
            connection.recv(120)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == code


class Line(asyncio.Transport):
    """A transport that notes whether it is read from."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


def test_nothing_is_read_while_the_client_does_not_read_or_the_endpoint_holds() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("nothing was sent")

    loop = asyncio.new_event_loop()
    config = uvicorn.Config(app, ws=FrameProtocol, log_config=None)
    config.load()
    protocol = FrameProtocol(config, ServerState(), {}, loop)
    line = Line()
    protocol.connection_made(line)
    protocol.listen(lambda message: None)
    seen = []
    for step in (
        protocol.pause_writing,
        lambda: protocol.hold(True),
        protocol.resume_writing,
        lambda: protocol.hold(False),
        protocol.pause_writing,
        protocol.resume_writing,
    ):
        step()
        seen.append(line.reading)
    loop.close()
    assert seen == [False, False, False, True, False, True]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_frame_right_behind_the_handshake_is_not_lost(at_once: bool) -> None:
    """Our client, and a server whose first frame shares a packet with the handshake."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        near, _ = listener.accept()
        with near:
            protocol = ServerProtocol()
            while not (events := protocol.events_received()):
                protocol.receive_data(near.recv(65536))
            protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
            protocol.send_text(b"hello")
            protocol.send_binary(b"reply")
            out = b"".join(protocol.data_to_send())
            for part in [out] if at_once else [out[i : i + 1] for i in range(len(out))]:
                near.sendall(part)
            near.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    connection = StreamConnection(url, {}, deadline=FAR_S)
    try:
        assert connection.receive(deadline=FAR_S) == "hello"
        assert connection.receive(deadline=FAR_S) == b"reply"
    finally:
        connection.close()
        thread.join(180)
        listener.close()
