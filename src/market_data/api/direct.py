"""Routes of bars without FastAPI's routing and solving, which cost more than such an answer does.

The functions, the models that read their queries and the handlers of their errors are those of the routes;
only the way there is shorter.
"""

from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request, Any], Awaitable[Response]]


def read_query(model: type[BaseModel], query: bytes) -> BaseModel:
    """Read a query string; of a parameter said twice, the last counts.

    Raises:
        RequestValidationError: a parameter breaks a rule.

    """
    try:
        return model.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([e | {"loc": ("query", *e["loc"])} for e in found]) from None


class DirectEndpoint:
    """Serves one route function that takes `request` and `params`, a model of its query."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._model: type[BaseModel] = signature(endpoint).parameters["params"].annotation.__origin__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive, send)
        response = await self._endpoint(request, read_query(self._model, scope["query_string"]))
        await response(scope, receive, send)


def install(app: FastAPI, router: APIRouter, prefix: str) -> None:
    """Serve a router's routes directly; include the router too, for OpenAPI."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    app.router.routes[:0] = [
        Route(prefix + route.path, DirectEndpoint(route.endpoint), methods=["GET"]) for route in routes
    ]
