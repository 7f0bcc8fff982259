"""A vendor's server on 127.0.0.1 that answers as told, and misbehaves as told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Question:
    """What was asked."""

    path: str
    params: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What to answer. `promised` announces more bytes than come; `stall` waits before the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    stall: threading.Event | None = None


class Vendor:
    """Answers every request with what `answer` returns for it, and notes what it was asked."""

    def __init__(self, answer: Callable[[Question], Reply]) -> None:
        self.answer = answer
        self.asked: list[Question] = []
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                question = Question(url.path, dict(parse_qsl(url.query, keep_blank_values=True)))
                vendor.asked.append(question)
                reply = vendor.answer(question)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(reply.promised or len(reply.body)))
                self.end_headers()
                if reply.stall is not None:
                    reply.stall.wait(60)
                try:
                    self.wfile.write(reply.body)
                except OSError:
                    return  # the client has gone, which may be what the test is about

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(answer: Callable[[Question], Reply]) -> Iterator[Vendor]:
    """Run a vendor's server for the time of a test."""
    vendor = Vendor(answer)
    thread = threading.Thread(target=vendor.serve, daemon=True)
    thread.start()
    try:
        yield vendor
    finally:
        vendor.close()
        thread.join()
