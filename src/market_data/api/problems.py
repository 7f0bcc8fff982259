"""Every failure in one shape (RFC 9457), and the one table that gives errors their status codes."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_data.api.context import request_id
from market_data.core.exceptions import (
    AmbiguousSymbol,
    BodyTooLarge,
    CalendarNotFound,
    ConcurrentChange,
    ConfigurationError,
    InstrumentExists,
    InstrumentInUse,
    InstrumentNotFound,
    InvalidInput,
    InvalidPageToken,
    JobNotFound,
    MarketDataError,
    NotFound,
    OverrideNotFound,
    ProviderAuthError,
    ProviderNotFound,
    RunNotFound,
    ScheduleExists,
    ScheduleInUse,
    ScheduleNotFound,
    SubscriptionNotFound,
    UnreadableBody,
    UnsupportedFormat,
)
from market_data.schemas.envelope import FieldProblem, Problem
from market_data.schemas.fields import MEANING

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidPageToken: HTTPStatus.BAD_REQUEST,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProviderNotFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    AmbiguousSymbol: HTTPStatus.CONFLICT,
    InstrumentExists: HTTPStatus.CONFLICT,
    InstrumentInUse: HTTPStatus.CONFLICT,
    ScheduleExists: HTTPStatus.CONFLICT,
    ScheduleInUse: HTTPStatus.CONFLICT,
    ConcurrentChange: HTTPStatus.CONFLICT,
    ProviderAuthError: HTTPStatus.CONFLICT,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnreadableBody: HTTPStatus.BAD_REQUEST,
    UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The nearest class of an error decides."""

_FIELDS: dict[type[Exception], str] = {
    ProviderNotFound: "provider",
    ProviderAuthError: "provider",
    InstrumentExists: "symbol",
    RunNotFound: "run_id",
    JobNotFound: "job_id",
    SubscriptionNotFound: "subscription_id",
    ScheduleExists: "name",
    CalendarNotFound: "calendar",
    OverrideNotFound: "day",
    AmbiguousSymbol: "symbols",
    UnreadableBody: "body",
    UnsupportedFormat: "Content-Type",
}

_log = structlog.get_logger(__name__)


class NotAcceptable(MarketDataError):
    """None of the media types the client accepts can be produced."""


STATUS[NotAcceptable] = HTTPStatus.NOT_ACCEPTABLE
_FIELDS[NotAcceptable] = "Accept"


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Write one failure."""
    body = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request_id(),
        errors=list(errors),
    )
    return JSONResponse(body.model_dump(), status, media_type=MEDIA_TYPE, headers=headers)


def _field_name(error: dict[str, Any]) -> str:
    """Name a field as the user wrote it: without where it stood, but for the body as a whole."""
    location = error["loc"]
    if error["type"] == "json_invalid":  # its location is a place in the text
        return str(location[0])
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _instrument_field(request: Request) -> str:
    """Name what a request said its instruments with."""
    if "instrument_id" in request.path_params:
        return "instrument_id"
    return "instrument_ids" if "instrument_ids" in request.query_params else "symbols"


def _fault(request: Request, error: Exception) -> tuple[str | None, str]:
    """Return the field at fault, where one is, and what is wrong with it."""
    if isinstance(error, InvalidInput):
        return error.field, error.message
    if isinstance(error, InstrumentNotFound):
        return _instrument_field(request), str(error)
    if isinstance(error, ScheduleNotFound):  # in a path by its id, in a body by its name
        return ("schedule_id" if "schedule_id" in request.path_params else "schedule"), str(error)
    return next((_FIELDS[kind] for kind in type(error).__mro__ if kind in _FIELDS), None), str(error)


def problem_of(request: Request, error: Exception) -> Response:
    """Write a failure the table knows, or a query or body that breaks a rule."""
    return _broken(request, error) if isinstance(error, RequestValidationError) else _told(request, error)


async def _handle(request: Request, error: Exception) -> Response:
    return problem_of(request, error)


def _told(request: Request, error: Exception) -> Response:
    kinds = type(error).__mro__
    status = next((STATUS[kind] for kind in kinds if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)
    field, message = _fault(request, error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request failed", error=str(error), kind=type(error).__name__)
    errors = [FieldProblem(field=field, message=message)] if field else []
    return problem(request, status, str(error), errors)


def _broken(request: Request, error: RequestValidationError) -> Response:
    found = [
        FieldProblem(field=_field_name(e), message=_message(e)) for e in jsonable_encoder(error.errors())
    ]
    detail = "; ".join(f"{f.field}: {f.message}" for f in found)
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, found)


def _message(error: dict[str, Any]) -> str:
    meant = MEANING.get(error.get("ctx", {}).get("pattern", ""))
    return meant or str(error["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 # registered for it alone
    if isinstance(error.__cause__, MarketDataError):  # raised while FastAPI read the body
        return _told(request, error.__cause__)
    detail, errors, headers = error.detail, [], dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"nothing is served at {request.url.path}; see /docs"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not served here; allowed: {headers['Allow']}"
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's word for a body that is no JSON in UTF-8
        errors = [FieldProblem(field="body", message=detail)]
    return problem(request, error.status_code, detail, errors, headers)


def _allowed(request: Request) -> list[str]:
    """List what a path serves; a router knows only the methods of the first route that fits."""
    routes, scope = request.app.router.routes, request.scope

    def served(method: str) -> bool:
        return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)

    found = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if served(method)]
    return [*found[:1], "HEAD", *found[1:]] if "GET" in found else found  # see `HeadAsGet`


class LastResort:
    """Answers what nobody expected with 500. Inside of `RequestContext`, so it has id and log line too.

    What fails after the status was sent is raised: the server then ends the connection without a proper end,
    and no client takes half an answer for a whole one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:
            _log.info("the client left before its request was read")
        except Exception:
            _log.exception("unexpected error")
            if started or scope["type"] != "http":
                raise
            await _unexpected(Request(scope))(scope, receive, send)


def _unexpected(request: Request) -> Response:
    detail = f"an unexpected error; its log lines carry request_id {request_id()}"
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def install(app: FastAPI) -> None:
    """Answer every failure of the app as a problem."""
    app.add_exception_handler(MarketDataError, _handle)
    app.add_exception_handler(RequestValidationError, _handle)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(LastResort)
