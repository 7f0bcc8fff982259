"""What every provider must do, told by one payload file for each: see docs/adding-a-provider.md."""

import hashlib
import io
import json
import logging
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import available_timezones

import httpx2
import numpy as np
import pytest
from pydantic import SecretStr

from market_data.core import exceptions
from market_data.core.exceptions import (
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    UnsupportedRequest,
)
from market_data.core.interval import Interval
from market_data.etl.http import HttpClient, Limits
from market_data.etl.provider import (
    DAY,
    HOUR,
    BarRequest,
    KeyedSettings,
    Listing,
    Page,
    ProviderClient,
    Quota,
)
from tests.support.pace import FakePace

PAYLOADS = Path(__file__).parents[1] / "payloads"
KEY = "K3YOFTHECONTRACT"
HTML = (
    "<!DOCTYPE html>\n<html><head><title>One moment, please</title></head><body>consent, a, b</body></html>"
)


@dataclass
class Subject:
    """A provider and its payload."""

    client: type[ProviderClient]
    payload: dict

    @classmethod
    def load(cls, client: type[ProviderClient], folder: Path = PAYLOADS) -> "Subject":
        path = folder / f"{client.spec.name}.json"
        if not path.exists():
            pytest.fail(f"the provider {client.spec.name} has no payload: write {path}")
        return cls(client, json.loads(path.read_text(encoding="utf-8")))

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.payload["now"])


@dataclass
class Vendor:
    """A server that gives canned answers, each once, and notes what it was asked."""

    answers: list[dict]
    requests: list[httpx2.Request] = field(default_factory=list)
    forever: bool = False
    before: bytes = b""
    """The answer given last."""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        for answer in self.answers:
            wanted = {name: str(value) for name, value in answer.get("params", {}).items()}
            given = dict(request.url.params)
            if request.url.path == answer.get("path", request.url.path) and wanted.items() <= given.items():
                if not self.forever:
                    self.answers.remove(answer)
                response = respond(answer, self.before)
                self.before = response.content
                return response
        raise AssertionError(f"unexpected request {request.url.path} {dict(request.url.params)}")


def respond(answer: dict, before: bytes = b"") -> httpx2.Response:
    body = content(answer).replace(b"{SHA256}", hashlib.sha256(before).hexdigest().encode())
    return httpx2.Response(answer.get("status", 200), headers=answer.get("headers", {}), content=body)


def content(answer: dict) -> bytes:
    if "zip" not in answer:
        return text(answer.get("body", "")).replace("{KEY}", KEY).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in answer["zip"].items():
            archive.writestr(name, text(member))
    return packed.getvalue()


def text(body: str | list[str]) -> str:
    """Bodies may be written as a list of lines, each ending in a newline."""
    return body if isinstance(body, str) else "".join(f"{line}\n" for line in body)


@dataclass
class Run:
    """What a client made of a vendor's answers."""

    pages: list[Page] = field(default_factory=list)
    error: Exception | None = None
    sleeps: list[float] = field(default_factory=list)


async def ask(subject: Subject, request: dict, handler, *, limits: Limits | None = None) -> Run:
    run = Run()

    async def sleep(seconds: float) -> None:
        run.sleeps.append(seconds)

    settings_type = subject.client.Settings
    given = {"base_url": settings_type.model_fields["base_url"].default}
    if issubclass(settings_type, KeyedSettings):
        fields = settings_type.model_fields.items()
        given |= {name: KEY for name, field in fields if field.annotation == SecretStr | None}
    settings = settings_type(_env_file=None, **given)
    http = HttpClient(
        subject.client.spec.name,
        base_url=settings.base_url,
        pace=FakePace(),
        secrets=settings.secrets(),
        transport=httpx2.MockTransport(handler),
        limits=limits,
        sleep=sleep,
    )
    async with http:
        client = subject.client(http, settings, now=lambda: subject.now)
        try:
            async for page in client.fetch_bars(bar_request(request)):
                run.pages.append(page)
        except ProviderError as error:
            run.error = error
    return run


def bar_request(request: dict) -> BarRequest:
    bounds = {
        name: datetime.fromisoformat(request[name]).astimezone(UTC)
        for name in ("start", "end")
        if name in request
    }
    return BarRequest(symbol=request["symbol"], interval=Interval(request["interval"]), **bounds)


def rows(pages: list[Page]) -> list[list]:
    """Stamps as ISO text, numbers as they are, NaN as None."""
    found = []
    for page in pages:
        raw = page.rows
        columns = (raw.open, raw.high, raw.low, raw.close, raw.volume)
        for i in range(len(raw)):
            cells = [None if np.isnan(column[i]) else float(column[i]) for column in columns]
            found.append([None if np.isnat(raw.stamp[i]) else str(raw.stamp[i])[:19], *cells])
    return found


def exact(cells: list[list]) -> list[list]:
    return [[cell.hex() if isinstance(cell, float) else cell for cell in row] for row in cells]


def expected(cells: list[list]) -> list[list]:
    return exact([[float(c) if isinstance(c, int | float) else c for c in row] for row in cells])


def spoken(error: BaseException | None) -> str:
    """Everything an error and what it is chained to could show."""
    parts = []
    while error is not None:
        parts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        for name in ("request", "_request", "response"):
            seen = getattr(error, name, None)
            parts += [repr(seen), str(getattr(seen, "url", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


class ProviderContract:
    """Inherit, and provide the fixture `subject`."""

    @pytest.fixture
    def silent(self, caplog, capsys):
        """A check that the key was neither said by an error nor written to any log."""
        caplog.set_level(logging.DEBUG)
        for name in ("httpx2", "httpcore2"):
            caplog.set_level(logging.DEBUG, logger=name)

        def check(run: Run) -> None:
            printed = capsys.readouterr()
            for where in (spoken(run.error), caplog.text, printed.out, printed.err):
                assert KEY not in where
            for page in run.pages:
                assert all(KEY not in page.rows.text(i) for i in range(len(page.rows)))

        return check

    def test_the_spec_is_complete(self, subject: Subject):
        spec = subject.client.spec
        assert spec.name.isalnum()
        assert spec.name == spec.name.lower()
        assert spec.title
        assert spec.covers
        assert spec.homepage.startswith("https://")
        assert spec.bases
        assert all(isinstance(interval, Interval) for interval in spec.bases)
        assert spec.asset_classes
        assert 0 < spec.requests_per_minute < 100_000
        assert not spec.needs_key or issubclass(subject.client.Settings, KeyedSettings)

    def test_the_spec_says_what_can_be_asked(self, subject: Subject):
        spec = subject.client.spec
        periods = [quota.per for quota in spec.quotas]
        assert set(periods) <= {HOUR, DAY}
        assert len(periods) == len(set(periods))
        assert all(isinstance(quota.requests, int) and quota.requests > 0 for quota in spec.quotas)
        assert spec.page_bars is None or spec.page_bars > 0
        assert spec.history.keys() <= spec.bases.keys()
        assert all(reach >= interval.duration for interval, reach in spec.history.items())
        assert timedelta(0) <= spec.settling <= timedelta(days=7)
        assert spec.overlap >= 0
        assert spec.timezone is None or spec.timezone in available_timezones()

    def test_a_plan_replaces_the_quotas_everyone_has(self, subject: Subject):
        spec, settings = subject.client.spec, subject.client.Settings
        assert settings(_env_file=None).quotas(spec) == spec.quotas
        planned = settings(_env_file=None, requests_per_hour=7, requests_per_day=8).quotas(spec)
        expected = {HOUR: Quota(7, HOUR), DAY: Quota(8, DAY)}
        assert planned == tuple(expected[quota.per] for quota in spec.quotas)

    def test_settings_come_from_its_own_variables(self, subject: Subject, monkeypatch):
        settings = subject.client.Settings
        prefix = settings.model_config["env_prefix"]
        assert prefix.endswith("_")
        assert prefix == prefix.upper()
        assert prefix.replace("_", "").lower() == subject.client.spec.name
        assert settings(_env_file=None).base_url.startswith("https://")
        monkeypatch.setenv(f"{prefix}BASE_URL", "http://127.0.0.1:9/recorded/")
        assert settings(_env_file=None).base_url == "http://127.0.0.1:9/recorded"

    async def test_rows_are_read_bit_for_bit(self, subject: Subject, subtests, silent):
        for case in subject.payload["cases"]:
            with subtests.test(case["name"]):
                vendor = Vendor(list(case["answers"]))
                run = await ask(subject, case["request"], vendor)
                assert run.error is None, spoken(run.error)
                assert vendor.answers == [], "answers nobody asked for"
                assert run.pages, "no page says what the symbol is"
                assert exact(rows(run.pages)) == expected(case["rows"])
                assert sum(int(page.rows.running.sum()) for page in run.pages) == case.get("running", 0)
                assert sum(int(page.rows.unreadable.sum()) for page in run.pages) == case.get("unreadable", 0)
                for page in run.pages:
                    assert page.listing == Listing(**case["listing"])
                    assert page.listing.asset_class in subject.client.spec.asset_classes
                    assert page.timezone == case.get("timezone", "UTC")
                    assert subject.client.spec.timezone in {None, page.timezone}
                    assert page.wall_clock == case.get("wall_clock", False)
                    assert all(page.rows.text(i).strip() for i in range(len(page.rows)))
                assert subject.client.spec.bases[Interval(case["request"]["interval"])] == case["basis"]
                silent(run)

    async def test_other_intervals_are_refused_before_asking(self, subject: Subject):
        symbol = subject.payload["cases"][0]["request"]["symbol"]
        for interval in set(Interval) - set(subject.client.spec.bases):
            vendor = Vendor([])
            run = await ask(subject, {"symbol": symbol, "interval": interval}, vendor)
            assert type(run.error) is UnsupportedRequest
            assert vendor.requests == []

    async def test_refusals_end_in_their_typed_error(self, subject: Subject, subtests, silent):
        first = subject.payload["cases"][0]["request"]
        for case in subject.payload["errors"]:
            with subtests.test(case["name"]):
                answers = (
                    case["answers"] if "answers" in case else [case["answer"]] if "answer" in case else []
                )
                run = await ask(subject, case.get("request", first), Vendor(answers, forever=True))
                assert type(run.error) is getattr(exceptions, case["error"]), spoken(run.error)
                assert run.error.provider == subject.client.spec.name
                assert run.pages == []
                assert run.error.__class__.__name__ != "ProviderRateLimited" or (
                    run.error.retry_after == case.get("retry_after")
                )
                silent(run)

    def test_the_payload_tries_what_goes_wrong(self, subject: Subject):
        names = {case["name"] for case in subject.payload["errors"]}
        kinds = {case["error"] for case in subject.payload["errors"]}
        assert {"SymbolNotFound", "MalformedAnswer"} <= kinds
        assert any(not case["rows"] for case in subject.payload["cases"]), "no case without bars"
        assert not subject.payload["names_symbol"] or "another symbol" in names
        if subject.client.spec.needs_key:
            assert {"ProviderAuthError", "ProviderRateLimited"} <= kinds
            assert "the key is echoed" in names

    async def test_a_page_that_is_no_data_yields_nothing(self, subject: Subject, subtests, silent):
        for case in subject.payload["cases"]:
            whole = content(case["answers"][0])
            for name, body in {"html": HTML.encode(), "empty": b"", "cut": whole[: len(whole) // 2]}.items():
                with subtests.test(f"{case['name']}: {name}"):
                    run = await ask(
                        subject, case["request"], lambda _, b=body: httpx2.Response(200, content=b)
                    )
                    assert isinstance(run.error, ProviderError)
                    assert run.pages == []
                    silent(run)

    async def test_busy_and_broken_servers_are_asked_again_and_then_reported(self, subject: Subject, silent):
        request = subject.payload["cases"][0]["request"]
        attempts = Limits().attempts
        body = "try {KEY} later" if issubclass(subject.client.Settings, KeyedSettings) else "try later"
        for status, error in (
            (429, ProviderRateLimited),
            (500, ProviderUnavailable),
            (503, ProviderUnavailable),
        ):
            vendor = Vendor([{"status": status, "body": body}], forever=True)
            run = await ask(subject, request, vendor)
            assert type(run.error) is error
            assert len(vendor.requests) == attempts
            assert len(run.sleeps) == attempts - 1
            assert run.pages == []
            silent(run)

    async def test_a_dead_network_is_reported_without_the_address(self, subject: Subject, silent):
        def refuse(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError(f"cannot reach {request.url}", request=request)

        run = await ask(subject, subject.payload["cases"][0]["request"], refuse)
        assert type(run.error) is ProviderUnavailable
        assert run.error.__cause__ is None
        assert run.error.__context__ is None
        silent(run)

    async def test_the_key_is_sent_to_the_vendor_alone(self, subject: Subject):
        if not subject.client.spec.needs_key:
            return
        case = subject.payload["cases"][0]
        vendor = Vendor(list(case["answers"]))
        await ask(subject, case["request"], vendor)
        for request in vendor.requests:
            assert KEY in f"{request.url} {request.headers.raw}"
        elsewhere = {"status": 302, "headers": {"location": "https://elsewhere.invalid/?apikey={KEY}"}}
        vendor = Vendor([elsewhere], forever=True)
        run = await ask(subject, case["request"], vendor)
        assert type(run.error) is ProviderUnavailable
        assert {request.url.host for request in vendor.requests} != {"elsewhere.invalid"}
        assert len(vendor.requests) == 1
