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

from market_data.api.context import request_id
from market_data.core.exceptions import (
    AmbiguousSymbol,
    BodyTooLarge,
    ConcurrentChange,
    DatabaseUnavailable,
    InstrumentExists,
    InstrumentInUse,
    InvalidInput,
    InvalidPageToken,
    MarketDataError,
    NotFound,
    ProviderAuthError,
    ProviderNotFound,
    UnreadableBody,
    UnsupportedFormat,
)
from market_data.schemas.envelope import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidPageToken: HTTPStatus.BAD_REQUEST,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProviderNotFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    AmbiguousSymbol: HTTPStatus.CONFLICT,
    InstrumentExists: HTTPStatus.CONFLICT,
    InstrumentInUse: HTTPStatus.CONFLICT,
    ConcurrentChange: HTTPStatus.CONFLICT,
    ProviderAuthError: HTTPStatus.CONFLICT,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnreadableBody: HTTPStatus.BAD_REQUEST,
    UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The nearest class of an error decides."""

_FIELDS: dict[type[Exception], str] = {
    ProviderNotFound: "provider",
    ProviderAuthError: "provider",
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


def _field_name(location: Sequence[Any]) -> str:
    """Name a field as the user wrote it: without where it stood, but for the body as a whole."""
    inner = [str(part) for part in location[1:]]
    return ".".join(inner) or str(location[0])


async def _known(request: Request, error: Exception) -> Response:
    kinds = type(error).__mro__
    status = next((STATUS[kind] for kind in kinds if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)
    field, message = next((_FIELDS[kind] for kind in kinds if kind in _FIELDS), None), str(error)
    if isinstance(error, InvalidInput):
        field, message = error.field, error.message
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request failed", error=str(error), kind=type(error).__name__)
    errors = [FieldProblem(field=field, message=message)] if field else []
    return problem(request, status, str(error), errors)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 # registered for it alone
    found = [
        FieldProblem(field=_field_name(e["loc"]), message=_message(e))
        for e in jsonable_encoder(error.errors())
    ]
    detail = "; ".join(f"{f.field}: {f.message}" for f in found)
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, found)


def _message(error: dict[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 # registered for it alone
    if isinstance(error.__cause__, MarketDataError):  # raised while FastAPI read the body
        return await _known(request, error.__cause__)
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"nothing is served at {request.url.path}; see /docs"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not served here; allowed: {(error.headers or {}).get('Allow', 'none')}"
    return problem(request, error.status_code, detail, headers=dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("unexpected error", exc_info=error)
    detail = f"an unexpected error; its log lines carry request_id {request_id()}"
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def install(app: FastAPI) -> None:
    """Answer every failure of the app as a problem."""
    app.add_exception_handler(MarketDataError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
