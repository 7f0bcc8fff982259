"""Writes the references that follow from the code, so that they cannot differ from it.

`make docs` writes them; `--check` (part of `make check`) names those that are out of date and writes nothing.
What is written depends on the code alone: not on the environment, a `.env`, the terminal or other packages.
People write the head of each page, down to a line that says so; only what follows is written here.
"""  # noqa: INP001 # a script beside the pages it writes, no package

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from market_data.cli.app import everything
from market_data.cli.ingest import history_in_words
from market_data.cli.output import in_words
from market_data.core.config import Settings
from market_data.core.interval import Interval
from market_data.etl import clients
from market_data.etl.provider import DAY, HOUR, KeyedSettings, ProviderClient, ProviderSpec
from market_data.etl.registry import discover
from market_data.main import create_app

ROOT = Path(__file__).parents[1]
BELOW = "<!-- Everything below is written by docs/generate.py; `make docs` writes it anew. -->"
WIDTH = 100

Client = type[ProviderClient]
Rows = Sequence[Sequence[str]]
Piece: TypeAlias = Any
"""A piece of typer, which carries a click of its own, or of a migration: without public types."""


def pages(known: Mapping[str, Client] | None = None) -> dict[str, str]:
    """Return what every generated file must hold, by its path in the project."""
    known = discover(clients) if known is None else known
    return {
        ".env.example": env_example(known),
        "docs/api.md": api(),
        "docs/cli.md": cli(),
        "docs/configuration.md": configuration(known),
        "docs/providers.md": providers(known),
        "docs/sql.md": sql(),
    }


# Settings


def variable(model: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """Return the environment variable of a setting; the first where several names are read."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0] if isinstance(alias.choices[0], str) else None
    if isinstance(alias, str):
        return alias
    return f"{model.model_config.get('env_prefix', '')}{name}".upper()


def default(field: FieldInfo) -> str:
    """Write a setting's default as the environment would; empty where there is none."""
    value = field.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def values(field: FieldInfo) -> str:
    """Say what a setting may be."""
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not NoneType]
    kind = kinds[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is tuple:
        return "names with commas between"
    names = {
        bool: "`true`, `false`",
        int: "whole number",
        float: "number",
        Path: "folder",
        SecretStr: "secret",
    }
    return " ".join([names.get(kind, "text"), *_bounds(field)])


def _alternatives(annotation: object) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        if isinstance(rule, Gt):
            yield f"over {rule.gt}"
        elif isinstance(rule, Ge):
            yield f"from {rule.ge}"
        elif isinstance(rule, Le):
            yield f"to {rule.le}"


def settings_of(model: type[BaseSettings]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a model's environment variables and fields in their order."""
    for name, field in model.model_fields.items():
        yield variable(model, name, field), field


def provider_settings(client: Client) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a provider's settings, but for quotas of periods it does not limit, which change nothing."""
    limited = {quota.per for quota in client.spec.quotas}
    periods = {"requests_per_hour": HOUR, "requests_per_day": DAY}
    idle = {name for name, period in periods.items() if period not in limited}
    for name, found in zip(client.Settings.model_fields, settings_of(client.Settings), strict=True):
        if name not in idle:
            yield found


def env_example(known: Mapping[str, Client]) -> str:
    """Write `.env.example`: every setting, commented out, with its default."""
    lines = [
        "# Copy to .env and uncomment what you change. The environment wins over this file.",
        "# Written by docs/generate.py from the code; `make docs` writes it anew. See docs/configuration.md.",
    ]
    for variable_name, field in settings_of(Settings):
        lines += ["", *_comment(field.description or ""), f"#{variable_name}={default(field)}"]
    for client in known.values():
        key = "needs a key" if client.spec.needs_key else "needs no key"
        lines += ["", "", f"# {client.spec.title} ({client.spec.homepage}): {key}."]
        for variable_name, field in provider_settings(client):
            lines += [
                *_comment(_described(variable_name, field, client)),
                f"#{variable_name}={default(field)}",
            ]
    return "\n".join(lines) + "\n"


def _described(name: str, field: FieldInfo, client: Client | None) -> str:
    text = field.description or ""
    if client is None or "_REQUESTS_PER_" not in name:
        return text
    quotas = {quota.per: quota.requests for quota in client.spec.quotas}
    allowed = {"MINUTE": client.spec.requests_per_minute, "HOUR": quotas.get(HOUR), "DAY": quotas.get(DAY)}
    return f"{text.rstrip('.')}: {allowed[name.rpartition('_')[2]]:g}."


def _comment(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [f"# {line}" for line in lines if line]


def configuration(known: Mapping[str, Client]) -> str:
    """Write the tables of `docs/configuration.md`."""
    parts = ["## The platform", _settings_table(settings_of(Settings)), "## Providers"]
    for client in known.values():
        parts += [f"### {client.spec.title}", _settings_table(provider_settings(client), client)]
    return page("configuration", parts)


def _settings_table(found: Iterator[tuple[str, FieldInfo]], client: Client | None = None) -> str:
    rows = [
        (
            f"`{name}`",
            f"`{default(field)}`" if default(field) else "unset",
            values(field),
            _described(name, field, client),
        )
        for name, field in found
    ]
    return table(("setting", "default", "values", "meaning"), rows)


# Providers


def providers(known: Mapping[str, Client]) -> str:
    """Write what each provider offers in `docs/providers.md`."""
    overview = [
        (
            f"[`{client.spec.name}`](#{client.spec.name})",
            client.spec.covers,
            " ".join(_intervals(client)),
            "needed" if client.spec.needs_key else "no",
        )
        for client in known.values()
    ]
    parts = ["## Overview", table(("provider", "covers", "intervals", "key"), overview)]
    for client in known.values():
        parts += [f"## {client.spec.name}", *_provider(client)]
    return page("providers", parts)


def _intervals(client: Client) -> list[str]:
    return [interval.value for interval in Interval if interval in client.spec.bases]


def _provider(client: Client) -> Iterator[str]:
    spec = client.spec
    module = inspect.getdoc(sys.modules[client.__module__]) or ""
    yield f"{spec.title}: {spec.covers}. {spec.homepage}"
    notes = module.partition("\n\n")[2].strip()
    if notes:
        yield " ".join(_linked(line) for line in notes.splitlines())
    intervals = [interval for interval in Interval if interval in spec.bases]
    reach = {interval: round(span.total_seconds()) for interval, span in spec.history.items()}
    bases = {basis.value for basis in spec.bases.values()}
    keyed = issubclass(client.Settings, KeyedSettings)
    key = variable(client.Settings, "api_key", client.Settings.model_fields["api_key"]) if keyed else ""
    yield table(
        ("", ""),
        [
            ("intervals", " ".join(_intervals(client))),
            ("prices are", ", ".join(sorted(bases))),
            ("asset classes", ", ".join(spec.asset_classes)),
            ("intraday bars start", _ALIGNED[spec.alignment.value]),
            ("history", history_in_words(intervals, reach)),
            ("page bars", f"up to {spec.page_bars} in an answer" if spec.page_bars else "all in one answer"),
            ("requests", _allowance(spec)),
            ("settling", _settling(spec.settling)),
            ("overlap bars", f"{spec.overlap} are asked for again with each increment"),
            ("days are", f"those of {spec.timezone}" if spec.timezone else "the exchange's own"),
            ("key", (f"`{key}`, " + ("needed" if spec.needs_key else "optional")) if keyed else "none"),
        ],
    )
    doc = (inspect.getdoc(client) or "").strip()
    if doc:
        yield doc


def _allowance(spec: ProviderSpec) -> str:
    periods = {HOUR: "an hour", DAY: "a day"}
    quotas = [f"{quota.requests} {periods[quota.per]}" for quota in spec.quotas]
    return ", ".join([f"{spec.requests_per_minute:g} a minute", *quotas])


def _settling(span: timedelta) -> str:
    return f"a bar is final {in_words(round(span.total_seconds()))} after its end" if span else "none"


_ALIGNED = {"utc": "on multiples of the interval in UTC", "session": "counted from the session's open"}


def _linked(line: str) -> str:
    line = line.strip()
    return f"Reference: {line}" + ("" if line.endswith(".") else ".") if line.startswith("http") else line


# HTTP API


def api() -> str:
    """Write the reference of `docs/api.md` from the OpenAPI document."""
    # Built without the environment: a prefix of one's own must not reach the page.
    bare = {name: field.default for name, field in Settings.model_fields.items()}
    document = create_app(Settings.model_construct(**bare)).openapi()
    parts = ["## Reference", "The same for machines is at `/openapi.json`, and to be tried out at `/docs`."]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += [f"### {method.upper()} {path}", *_operation(operation, document)]
    parts += ["## Schemas", *_schemas(document)]
    return page("api", parts)


def _operation(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    yield operation.get("description", operation["summary"])
    if found := operation.get("parameters"):
        rows = [
            (
                f"`{one['name']}`",
                one["in"] + (", needed" if one.get("required") else ""),
                _schema(one["schema"], document).removesuffix(" or null"),  # absent is what is meant
                one.get("description") or next(_inner(one["schema"], "description"), ""),
            )
            for one in found
        ]
        yield table(("parameter", "in", "values", "meaning"), rows)
    if body := operation.get("requestBody"):
        yield (
            "Body: " + ", ".join(_content(kind, one, document) for kind, one in body["content"].items()) + "."
        )
    answers, refused = [], []
    for status, answer in sorted(operation["responses"].items()):
        content = answer.get("content", {})
        if "application/problem+json" in content:
            refused.append(status)
        else:
            kinds = ", ".join(_content(kind, one, document) for kind, one in content.items())
            answers.append(f"{status} {kinds}".strip())
    problems = f" Problems: {', '.join(refused)}." if refused else ""
    yield f"Answer: {'; '.join(answers)}.{problems}"


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        if "properties" in schema and not name.startswith("Page_"):
            yield f"### {name}"
            yield _first_line(schema)
            yield table(("field", "values", "meaning"), _fields(schema, document))


def _first_line(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", "")).split("\n", maxsplit=1)[0]


def _fields(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Rows:
    needed = schema.get("required", ()) if "additionalProperties" in schema else ()
    return [
        (
            f"`{name}`" + (", needed" if name in needed else ""),
            _schema(field, document),
            field.get("description") or next(_inner(field, "description"), ""),
        )
        for name, field in schema["properties"].items()
    ]


def _inner(schema: Mapping[str, Any], name: str) -> Iterator[str]:
    yield from (one[name] for one in (schema, *schema.get("anyOf", ())) if name in one)


def _content(kind: str, content: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    shown = _schema(content["schema"], document) if kind == "application/json" else ""
    return f"`{kind}`" + (f": {shown}" if shown else "")


def _schema(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Say on one line what a value may be."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        target = document["components"]["schemas"][name]
        if "enum" in target:
            return _schema(target, document)
        if name.startswith("Page_"):
            return f"a page of {_schema(target['properties']['data']['items'], document)}"
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        shown = ", ".join(f"`{word}`" for word in schema["enum"])
    elif "anyOf" in schema:
        some = [_schema(one, document) for one in schema["anyOf"] if one.get("type") != "null"]
        if len(some) < len(schema["anyOf"]) and "default" not in schema:  # an absent field needs no null
            some.append("null")
        shown = " or ".join(dict.fromkeys(some))
    elif schema.get("type") == "array":
        shown = f"list of {_schema(schema['items'], document)}"
    else:
        shown = " ".join([str(schema.get("format", schema.get("type"))), *_limits(schema)])
        if isinstance(inner := schema.get("additionalProperties"), dict):
            shown = f"object of {_schema(inner, document)} by name"
    given = schema.get("default")
    text = str(given).lower() if isinstance(given, bool) else given
    return f"{shown} (default {text})" if given not in (None, []) else shown


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    if "maximum" in schema:
        yield f"{schema.get('minimum', 0)} to {schema['maximum']}"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"
    elif "maxLength" in schema:
        yield f"up to {schema['maxLength']} characters"


# Command line


def cli() -> str:
    """Write the commands of `docs/cli.md` from what `--help` is made of."""
    parts: list[str] = []
    for words, command in commands(everything()):
        parts += [f"## {' '.join(words)}", *_command(words, command)]
    return page("cli", parts)


def commands(root: Piece) -> Iterator[tuple[tuple[str, ...], Piece]]:
    """Yield every command that does something, with the words that call it."""
    waiting: list[tuple[tuple[str, ...], Piece]] = [(("market-data",), root)]
    while waiting:
        words, command = waiting.pop(0)
        if children := getattr(command, "commands", None):
            waiting = [((*words, name), child) for name, child in children.items()] + waiting
        else:
            yield words, command


def _command(words: Sequence[str], command: Piece) -> Iterator[str]:
    yield str(command.help).strip()
    arguments = [one for one in command.params if not one.opts[0].startswith("-")]
    options = [one for one in command.params if one.opts[0].startswith("-")]
    usage = [*words, *(_usage(one) for one in arguments), *(["[OPTIONS]"] if options else [])]
    example = str(command.epilog or "").removeprefix("Example: ")
    yield f"```sh\n{' '.join(usage)}\n{example}\n```"
    if shown := [(f"`{_metavar(one)}`", _kind(one), "", _help(one)) for one in arguments]:
        yield table(("argument", "values", "default", "meaning"), shown)
    if shown := [(_spelled(one), _kind(one), _default(one), _help(one)) for one in options]:
        yield table(("option", "values", "default", "meaning"), shown)


def _metavar(parameter: Piece) -> str:
    return str(parameter.metavar or parameter.name.upper()).strip("[]")


def _usage(parameter: Piece) -> str:
    name = _metavar(parameter) + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _spelled(parameter: Piece) -> str:
    names = " ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"{names}, needed" if parameter.required else names


def _kind(parameter: Piece) -> str:
    annotation = next(
        kind for kind in _alternatives(parameter.type_descriptor.annotation) if kind is not NoneType
    )
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    if hasattr(annotation, "__members__"):
        return ", ".join(f"`{word}`" for word in annotation)
    return {bool: "", int: "number", Path: "path"}.get(annotation, "text")


def _default(parameter: Piece) -> str:
    value = parameter.default
    return "" if value is None or isinstance(value, bool) else f"`{value}`"


def _help(parameter: Piece) -> str:
    return str(parameter.help or "")


# SQL


def migration(name: str) -> ModuleType:
    """Load a migration as a module."""
    (path,) = (ROOT / "alembic/versions").glob(f"{name}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sql() -> str:
    """Write the views and functions of `docs/sql.md`, with the comments they have in the database."""
    first, second = migration("0002"), migration("0004")
    views: dict[str, tuple[str, str]] = first.VIEWS | second.VIEWS
    meanings: dict[str, str] = first.COLUMNS | second.COLUMNS
    parts: list[str] = []
    for name, (comment, query) in views.items():
        parts += [f"## {name}", f"{comment}.", _columns(columns(query), meanings)]
    for name, made in (second.FUNCTIONS | second.CALCULATIONS).items():
        if made.readable and made.arguments:  # the reader's, but for what stands behind a view
            parts += [f"## {name}()", *_function(name, made, meanings)]
    return page("sql", parts)


def _columns(names: Sequence[str], meanings: Mapping[str, str]) -> str:
    return table(("column", "meaning"), [(f"`{name}`", meanings[name]) for name in names])


def _function(name: str, made: Piece, meanings: Mapping[str, str]) -> Iterator[str]:
    result, _, returned = made.returns.partition(" (")
    yield f"{made.comment}."
    arguments = made.arguments.replace(", ", ",\n    ")
    yield f"```text\n{name}(\n    {arguments}\n) -> {result.lower()}\n```"
    if returned:
        names = [column.split()[0] for column in returned.rstrip(")").split(", ")]
        yield _columns(names, meanings)


def columns(query: str) -> list[str]:
    """Name the columns of a view: of each item selected the last word, its alias or its own name."""
    selected, _, _ = " ".join(query.split()).removeprefix("SELECT ").partition(" FROM ")
    while (bare := re.sub(r"\([^()]*\)", "", selected)) != selected:  # what is in parentheses, from within
        selected = bare
    return re.findall(r"(\w+)(?:,|$)", selected)


# Markdown


def page(name: str, parts: Sequence[str]) -> str:
    """Put what follows from the code behind what people wrote on a page."""
    path = ROOT / f"docs/{name}.md"
    head, mark, _ = path.read_text(encoding="utf-8").partition(BELOW)
    if not mark:
        raise SystemExit(f"{path} has lost the line that ends its written part:\n{BELOW}")
    return head + "\n\n".join([BELOW, *parts]) + "\n"


def table(head: Sequence[str], rows: Rows) -> str:
    """Write a table."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in escaped)


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` name those that are out of date."""
    stale = []
    for name, text in pages().items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}. `make docs` writes what is generated anew\n")
        return 1
    sys.stdout.write(f"wrote {', '.join(stale)}\n" if stale else "generated documentation is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
