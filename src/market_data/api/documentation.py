"""What OpenAPI cannot read off the code: problems, bar formats, bodies of bars."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from market_data import __version__
from market_data.api.encoders import ENCODERS
from market_data.api.problems import MEDIA_TYPE
from market_data.core.metrics import OPENMETRICS
from market_data.schemas.envelope import Problem
from market_data.schemas.job import JobEnd, JobProgress
from market_data.schemas.market_price import PriceColumnsRead, PricesRead

_DESCRIPTIONS = {
    400: "The page token or the body cannot be read.",
    404: "Nothing is known under this name.",
    406: "None of the accepted media types can be produced.",
    409: "The request contradicts what is stored.",
    413: "The body is too large.",
    415: "The body's media type cannot be read.",
    422: "A field breaks a rule; `errors` names it.",
    500: "An unexpected error; the log lines of its request_id tell more.",
    503: "The database does not answer.",
}
_CELLS = {
    "symbol": "Text: of an active instrument.",
    "exchange": "Text: where several exchanges have the symbol.",
    "instrument_id": "Whole number: instead of a symbol.",
    "interval": "Text: span of the bar, such as 1d.",
    "ts": "Text: start of the bar, RFC 3339 with an offset, or a date.",
    **dict.fromkeys(("open", "high", "low", "close"), "Number."),
    "volume": "Number, or null where there is none.",
}
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
_REQUEST_ID = {"X-Request-ID": {"schema": {"type": "string"}, "description": "Echoed or made."}}
_LINK = {"Link": "Row formats with a limit: the next page."}
_VALIDATORS = {
    "ETag": "Names this very answer: send it as If-None-Match to hear whether it changed.",
    "Last-Modified": "When its bars last changed, where that can be told.",
    "Cache-Control": "A minute for sealed history; what may still grow is asked for again each time.",
}
_BESIDE = (Problem, PricesRead, PriceColumnsRead, JobProgress, JobEnd)
"""Models no route has as its own."""

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Document that a route may answer these problems, and 500 and 503 as all do."""
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: _PROBLEM}}
        for status in (*statuses, 500, 503)
    }


def located(status: int) -> Responses:
    """Document an answer that says where to find what was made."""
    place = {"schema": {"type": "string", "format": "uri-reference"}, "description": "Path of what was made."}
    return {status: {"headers": {"Location": place | {"required": True}}}}


def events(**kinds: type[BaseModel]) -> Responses:
    """Document an answer of Server-Sent Events: `kinds` are what each kind carries as JSON in `data`."""
    told = ", ".join(f"`{name}` with {model.__name__}" for name, model in kinds.items())
    shapes = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in kinds.values()]
    item = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "enum": list(kinds)},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"anyOf": shapes},
            },
        },
    }
    content = {"text/event-stream": {"itemSchema": item}}
    return {200: {"description": f"Events: {told}.", "content": content}}


def bars(*, linked: bool) -> Responses:
    """Document an answer with bars in every format."""
    content: dict[str, Any] = {
        encoder.media_type: {"schema": {"type": "string", "format": "binary"}}
        for encoder in ENCODERS.values()
        if not encoder.envelope
    }
    for text in (ENCODERS["csv"], ENCODERS["ndjson"]):
        content[text.media_type] = {"schema": {"type": "string"}}
    shapes = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in (PricesRead, PriceColumnsRead)]
    answer: dict[str, Any] = {
        "description": "Bars, in the format asked.",
        "content": {"application/json": {"schema": {"anyOf": shapes}}, **content},
    }
    told = _VALIDATORS | (_LINK if linked else {})
    answer["headers"] = {
        name: {"schema": {"type": "string"}, "description": text} for name, text in told.items()
    }
    return {200: answer, 304: {"description": "The client has this very answer."}}


def metrics() -> Responses:
    """Document an answer for Prometheus."""
    text = {"schema": {"type": "string"}}
    return {200: {"description": "Every figure.", "content": {"text/plain": text, OPENMETRICS: text}}}


def body_of_bars(media_types: list[str]) -> dict[str, Any]:
    """Document a body of bars in any format."""
    row = {
        "type": "object",
        "description": "One bar. A cell that cannot be read does not stop the others: its row is rejected.",
        "properties": {name: {"description": told} for name, told in _CELLS.items()},
    }
    rows = {"type": "array", "items": row}
    columns = {
        "type": "object",
        "description": "Columns of one length, as the format `columns` has them.",
        "additionalProperties": {"type": "array"},
    }
    data = {"anyOf": [rows, columns]}
    wrapped = {"type": "object", "required": ["data"], "properties": {"data": data}}
    content: dict[str, Any] = {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types
    }
    content["application/json"] = {"schema": {"anyOf": [rows, wrapped]}}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI) -> None:
    """Give the app its OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=__version__,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    models = [(model, "serialization") for model in _BESIDE]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type] # a literal it is
    schemas.update(definitions["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    """Add the headers of every answer; take back that a query parameter could be null."""
    for answer in operation["responses"].values():
        answer.setdefault("headers", {}).update(_REQUEST_ID)
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
        schema.update(*kinds)
