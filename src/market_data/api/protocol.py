"""Uvicorn's HTTP protocol, with what is written in one go sent in one go.

Uvicorn writes the head of an answer and its body apart, and the loop hands each to the system at once: two
system calls, and a client that is woken for a head without a body.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HELD = 64 * 1024
"""Bytes held back at most: beyond, the transport must be free to say that the client is slow."""


class _JoiningTransport:
    """A transport that holds writes back until the event loop goes on to something else."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.writelines(held)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


class JoiningProtocol(HttpToolsProtocol):
    """Serves a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type] # acts as one

    def shutdown(self) -> None:
        """Be told that the server stops: streams without an end of their own end now (see `main.py`)."""
        stopping: asyncio.Event | None = self.app_state.get("stopping")
        if stopping is not None:
            stopping.set()
        super().shutdown()
