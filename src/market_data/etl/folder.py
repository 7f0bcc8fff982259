"""A folder in place of a server: its files are the answers."""

import asyncio
from pathlib import Path

import httpx2


class FolderTransport(httpx2.AsyncBaseTransport):
    """Answers a path below `prefix` with the file of that name under `folder`.

    A path that ends in `/` is answered with the names in it, one a line; what is not there with 404. Names
    that could lead out of the folder (`..`) are not there.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix.rstrip("/")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Read the file that is asked for; one that cannot be read is an error that no repetition helps."""
        path = request.url.path.removeprefix(self._prefix)
        parts = path.strip("/").split("/")
        if any(part in {"", ".", ".."} or not part.isprintable() or set(part) & set("\\:") for part in parts):
            return httpx2.Response(404)
        wanted = self._folder.joinpath(*parts)
        try:
            body = await asyncio.to_thread(_names if path.endswith("/") else Path.read_bytes, wanted)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return httpx2.Response(404)
        except OSError as exc:
            raise httpx2.TransportError(f"{wanted.name}: {exc.strerror}") from exc
        return httpx2.Response(200, content=body)


def _names(folder: Path) -> bytes:
    return "".join(f"{path.name}\n" for path in sorted(folder.iterdir())).encode()
