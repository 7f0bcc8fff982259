"""Clients that read a little of an answer and then leave, or hardly read at all."""

import socket
import struct
from pathlib import Path
from typing import Self

_RESET = struct.pack("ii", 1, 0)
"""Lingering for no time at all: closing resets the connection."""


class RudeClient:
    """One request over a socket that takes in little at a time."""

    def __init__(self, port: int, path: str, coding: str = "identity", *, takes_in: int = 4096) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes_in)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
        self.socket.sendall(head.encode())
        self.got = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self, count: int) -> int:
        """Read so many more bytes, or what there is; return how many."""
        wanted, before = len(self.got) + count, len(self.got)
        while len(self.got) < wanted and (piece := self.socket.recv(65_536)):
            self.got += piece
        return len(self.got) - before

    @property
    def status(self) -> int:
        return int(self.got.split(b" ", 2)[1])

    def slam(self) -> None:
        """Leave as a killed process does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()


def resident(pid: int) -> int:
    """Return the bytes of memory a process occupies."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def worked(pid: int) -> int:
    """Return the processor time a process has used, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
