"""HEAD answered as GET without its body: what DuckDB, Polars and caches ask before they read a URL."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Answered(Exception):
    """The headers are sent; nothing more is wanted of the application."""


class HeadAsGet:
    """Serve HEAD wherever GET is served; a stream of bars is stopped before its second piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def without_body(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
            elif answered:
                raise _Answered
            else:
                answered = True
                await send({"type": "http.response.body", "body": b""})

        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, without_body)
        except _Answered:
            return
        finally:
            scope["route"] = as_get.get("route")  # for who counts requests
