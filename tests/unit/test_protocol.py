"""What is written in one go is sent in one go, and nothing is lost or held too long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.server import ServerState

from market_data.api.protocol import JoiningProtocol


class Recorder(asyncio.Transport):
    """A transport that remembers what was sent in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data) -> None:
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name, default=None):  # noqa: ARG002 # asyncio's signature
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@asynccontextmanager
async def connected(app, recorder: Recorder | None = None) -> AsyncIterator[Recorder]:
    config = uvicorn.Config(app, http=JoiningProtocol, log_config=None, access_log=False, lifespan="off")
    config.load()
    state = ServerState()
    protocol = JoiningProtocol(config, state, {}, asyncio.get_running_loop())
    recorder = recorder or Recorder()
    protocol.connection_made(recorder)
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    await asyncio.gather(*state.tasks)
    await asyncio.sleep(0)
    yield recorder
    protocol.connection_lost(None)


def answering(*bodies: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()):
    async def app(scope, receive, send) -> None:
        length = (b"content-length", str(sum(map(len, bodies))).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return app


async def test_head_and_body_are_sent_together():
    async with connected(answering(b"hello")) as recorder:
        assert len(recorder.sent) == 1
        assert recorder.sent[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert recorder.sent[0].endswith(b"\r\n\r\nhello")


async def test_large_bodies_are_not_gathered():
    piece = b"x" * 50_000
    async with connected(answering(piece, piece, piece, piece)) as recorder:
        assert max(map(len, recorder.sent)) < 3 * len(piece)
        assert b"".join(recorder.sent).count(b"x") == 4 * len(piece)


async def test_what_was_held_is_sent_before_the_connection_is_closed():
    async with connected(answering(b"bye", headers=((b"connection", b"close"),))) as recorder:
        assert recorder.closed
        assert b"".join(recorder.sent).endswith(b"bye")


async def test_nothing_is_sent_to_who_has_left():
    recorder = Recorder()

    async def app(scope, receive, send) -> None:
        await answering(b"late")(scope, receive, send)
        recorder.closed = True

    async with connected(app, recorder):
        assert recorder.sent == []
