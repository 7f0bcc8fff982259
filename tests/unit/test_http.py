"""The HTTP layer: when it asks again, what it refuses, and what it never says."""

import asyncio
import gzip
import logging
import zlib

import httpx2
import pytest

from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.etl.answer import Answer
from market_data.etl.http import USER_AGENT, HttpClient, Limits
from market_data.etl.redaction import MASK, Redactor
from tests.support.pace import FakePace
from tests.support.provider_contract import spoken

KEY = 's3cr3t key/+&"quoted"'
URL = "https://vendor.test/api"


class Net:
    """Answers in turn (the last one again and again), a clock that only sleeping moves."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.sleeps = []
        self.time = 0.0
        self.pace = FakePace()

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.time += seconds

    def client(self, *, limits=None, base_url=URL, secrets=(KEY,)):
        return HttpClient(
            "vendor",
            base_url=base_url,
            pace=self.pace,
            secrets=secrets,
            transport=httpx2.MockTransport(self),
            limits=limits,
            sleep=self.sleep,
            clock=lambda: self.time,
        )

    async def get(self, path="/bars", params=None, *, limits=None, base_url=URL, **more):
        async with self.client(limits=limits, base_url=base_url) as http:
            return await http.get(path, params, **more)

    async def failure(self, kind, **more) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.get(params={"apikey": KEY, "symbol": "IBM"}, **more)
        assert type(caught.value) is kind, caught.value
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        said = spoken(caught.value)
        assert not [word for word in Redactor([KEY])._spellings if word in said]
        return caught.value


def ok(body=b"data", **headers):
    return httpx2.Response(200, content=body, headers=headers)


def streamed(*parts, status=200, **headers):
    async def body():
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    return httpx2.Response(
        status, content=body(), headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def test_an_answer_has_status_headers_and_body():
    net = Net(ok(b"\xef\xbb\xbfdata", **{"X-Weight": "2"}))
    answer = await net.get(params={"symbol": "A&B", "limit": 5}, headers={"X-Mine": "1"})
    assert (answer.status, answer.body, answer.text, answer.headers["x-weight"]) == (
        200,
        b"\xef\xbb\xbfdata",
        "data",
        "2",
    )
    assert str(net.requests[0].url) == "https://vendor.test/api/bars?symbol=A%26B&limit=5"
    assert net.requests[0].headers["user-agent"] == USER_AGENT
    assert net.requests[0].headers["x-mine"] == "1"
    assert "data" not in repr(answer)


async def test_a_caller_may_look_like_a_browser():
    net = Net(ok())
    await net.get(headers={"User-Agent": "Mozilla/5.0"})
    assert net.requests[0].headers["user-agent"] == "Mozilla/5.0"


@pytest.mark.parametrize(
    "broken",
    [
        httpx2.Response(500),
        httpx2.Response(503, content=b"maintenance"),
        httpx2.Response(429),
        httpx2.Response(408),
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout(""),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("peer closed connection without sending complete message body"),
        streamed(b"half", content_length="8"),
        streamed(b"half", httpx2.ReadError("reset in the middle")),
        ok(b"half", **{"content-length": "8"}),
    ],
    ids=lambda broken: repr(broken)[:60],
)
async def test_what_may_pass_is_asked_again(broken):
    net = Net(broken, ok())
    assert (await net.get()).body == b"data"
    assert len(net.requests) == 2
    assert len(net.sleeps) == 1
    assert 0.5 <= net.sleeps[0] <= 1.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UnsupportedRequest),
        (401, ProviderAuthError),
        (403, ProviderAuthError),
        (404, SymbolNotFound),
        (410, SymbolNotFound),
        (418, ProviderRateLimited),
        (422, UnsupportedRequest),
        (304, ProviderUnavailable),
    ],
)
async def test_what_cannot_pass_is_reported_at_once(status, kind):
    net = Net(httpx2.Response(status, content=b"because\nof this"))
    error = await net.failure(kind)
    assert str(error) == f"vendor: answered {status}: because of this"
    assert len(net.requests) == 1


PAGE = httpx2.Response(
    200, content=b" <!doctype HTML><p>wait", headers={"content-type": "text/html; charset=x"}
)
HALF = httpx2.Response(200, content=b"[[1,2],[3", headers={"content-type": "application/json;charset=UTF-8"})


@pytest.mark.parametrize("broken", [PAGE, HALF])
async def test_half_a_json_and_a_web_page_are_asked_again(broken):
    net = Net(broken, httpx2.Response(200, json=[1]))
    assert (await net.get()).body == b"[1]"
    assert len(net.sleeps) == 1
    lasting = Net(broken)
    answer = await lasting.get(limits=Limits(attempts=3))
    assert (answer.body, len(lasting.requests)) == (broken.content, 3)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", b"a,b"),
        ("text/html", b"a,b"),
        ("application/json", b""),
        ("application/json", b'"words"'),
        ("application/json", b' {"a": 1}\n'),
        ("application/vnd.x+json", b"[]"),
        ("", b"{"),
    ],
)
async def test_what_may_be_whole_is_taken_for_whole(kind, body):
    net = Net(httpx2.Response(200, content=body, headers={"content-type": kind}))
    assert (await net.get()).body == body
    assert len(net.requests) == 1


async def test_waits_grow_and_end():
    net = Net(httpx2.Response(502, content=b"<html>bad gateway</html>"))
    error = await net.failure(ProviderUnavailable, limits=Limits(attempts=6))
    assert "markup" in str(error)
    assert len(net.requests) == 6
    assert all(0.5 <= wait <= 2**turn for turn, wait in enumerate(net.sleeps))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "Fri, 05 Jan 2024 18:00:30 GMT", "date": "Fri, 05 Jan 2024 18:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 05 Jan 2024 18:00:30 -0000", "date": "Fri, 05 Jan 2024 18:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 05 Jan 2001 18:00:00 GMT"}, 0.0),
    ],
)
async def test_the_vendor_says_how_long_to_wait(header, seconds):
    net = Net(httpx2.Response(429, headers=header), ok())
    await net.get()
    assert net.sleeps == [seconds]


@pytest.mark.parametrize("header", ["soon", "-5", "1e9", "", "Fri, 99 Jan 2024"])
async def test_an_unreadable_wait_is_ours_to_choose(header):
    net = Net(httpx2.Response(503, headers={"retry-after": header}), ok())
    await net.get()
    assert 0.5 <= net.sleeps[0] <= 1.0


async def test_too_long_a_wait_is_reported_with_its_length():
    net = Net(httpx2.Response(429, headers={"retry-after": "61"}))
    error = await net.failure(ProviderRateLimited)
    assert error.retry_after == 61.0
    assert net.sleeps == []
    net = Net(httpx2.Response(503, headers={"retry-after": "900"}))
    await net.failure(ProviderUnavailable)
    assert net.sleeps == []


async def test_all_attempts_together_have_a_deadline():
    net = Net(httpx2.Response(429, headers={"retry-after": "60"}))
    error = await net.failure(ProviderRateLimited, limits=Limits(attempts=100, total=150))
    assert net.sleeps == [60.0, 60.0]
    assert error.retry_after == 60.0


async def test_an_answer_that_drips_forever_is_given_up():
    async def drip():
        while True:
            yield b"."
            await asyncio.sleep(0)

    net = Net(httpx2.Response(200, content=drip()))
    error = await net.failure(ProviderUnavailable, limits=Limits(total=0.02))
    assert "0.02 s" in str(error)
    assert len(net.requests) == 1


async def test_a_body_may_not_be_too_large():
    net = Net(streamed(b"x" * 600, b"x" * 600))
    error = await net.failure(MalformedAnswer, limits=Limits(body=1000))
    assert "1000 bytes" in str(error)
    assert len(net.requests) == 1


async def test_a_bomb_is_refused_while_it_unfolds():
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    taken = []

    async def body():
        for start in range(0, len(bomb), 1024):
            taken.append(start)
            yield bomb[start : start + 1024]

    net = Net(httpx2.Response(200, content=body(), headers={"content-encoding": "gzip"}))
    await net.failure(MalformedAnswer, limits=Limits(body=1_000_000))
    assert len(taken) < 5


async def test_compressed_bodies_are_unfolded_and_counted_as_sent():
    body = zlib.compress(b"data" * 100)
    net = Net(streamed(body, content_encoding="deflate", content_length=str(len(body))))
    assert (await net.get()).body == b"data" * 100
    net = Net(streamed(b"no gzip at all", content_encoding="gzip"))
    await net.failure(MalformedAnswer)


async def test_redirects_stay_on_the_server():
    net = Net(httpx2.Response(302, headers={"location": "/api/v2/bars?page=2"}), ok())
    assert (await net.get(params={"apikey": KEY})).status == 200
    assert str(net.requests[1].url) == "https://vendor.test/api/v2/bars?page=2"
    for elsewhere in (
        "https://evil.test/",
        "http://vendor.test/",
        "https://vendor.test:8443/",
        "//evil.test/x",
    ):
        net = Net(httpx2.Response(301, headers={"location": elsewhere}), ok())
        await net.failure(ProviderUnavailable)
        assert len(net.requests) == 1


async def test_a_redirect_may_upgrade_to_tls():
    net = Net(httpx2.Response(308, headers={"location": "https://vendor.test/bars"}), ok())
    assert (await net.get(base_url="http://vendor.test")).status == 200


async def test_redirects_end():
    net = Net(httpx2.Response(302, headers={"location": "/again"}))
    error = await net.failure(ProviderUnavailable)
    assert "more than 3" in str(error)
    assert len(net.requests) == 4


@pytest.mark.parametrize("location", ["http://[", "ftp://vendor.test/"])
async def test_redirects_to_nowhere(location):
    net = Net(httpx2.Response(302, headers={"location": location}), ok())
    await net.failure(ProviderUnavailable)
    assert len(net.requests) == 1


@pytest.mark.parametrize("base_url", ["ftp://vendor.test", "https://", "http://[::1", "vendor", f"x:{KEY}"])
async def test_an_unusable_address(base_url):
    net = Net(ok())
    await net.failure(ProviderUnavailable, base_url=base_url)
    assert net.requests == []


async def test_other_transport_errors_are_not_repeated():
    net = Net(httpx2.UnsupportedProtocol(f"what is {KEY}"))
    error = await net.failure(ProviderUnavailable)
    assert MASK in str(error)
    assert len(net.requests) == 1


async def test_a_client_may_explain_a_refusal():
    def explain(answer: Answer):
        return SymbolNotFound("vendor", answer.text) if b"symbol" in answer.body else None

    await Net(httpx2.Response(400, content=b"no such symbol")).failure(SymbolNotFound, explain=explain)
    await Net(httpx2.Response(400, content=b"bad request")).failure(UnsupportedRequest, explain=explain)
    net = Net(httpx2.Response(500, content=b"symbol"), ok())
    assert (await net.get(explain=explain)).status == 200


@pytest.mark.parametrize("spelling", Redactor([KEY])._spellings)
async def test_the_key_is_masked_in_every_spelling(spelling):
    echo = f"your key {spelling} is over its limit".encode()
    answer = await Net(ok(echo, **{"x-key": spelling.replace('"', "")})).get()
    assert spelling.encode() not in answer.body
    assert MASK.encode() in answer.body
    await Net(httpx2.Response(403, content=echo)).failure(ProviderAuthError)
    await Net(httpx2.ConnectError(f"cannot reach {spelling}")).failure(ProviderUnavailable)


def test_short_words_are_masked_in_texts_only():
    redactor = Redactor(["demo", "", "  "])
    assert redactor.text("the demo key") == f"the {MASK} key"
    assert redactor.body(b"the demo key") == b"the demo key"
    assert "demo" not in repr(redactor)


async def test_the_library_logs_nothing(caplog):
    for name in ("httpx2", "httpcore2", "httpcore2.http11"):
        caplog.set_level(logging.DEBUG, logger=name)
    await Net(ok()).get(params={"apikey": KEY})
    logging.getLogger("httpcore2.http11").debug("send_request_headers %s", KEY)
    assert caplog.text == ""


async def test_cancelling_is_not_an_error_of_the_vendor():
    async def hang(request):
        await asyncio.Event().wait()

    net = Net(ok())
    http = net.client()
    http._client._transport = httpx2.MockTransport(hang)
    task = asyncio.create_task(http.get("/bars"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await http.aclose()


async def test_each_attempt_waits_for_its_turn():
    net = Net(httpx2.Response(500), httpx2.ReadError("reset"), ok())
    await net.get()
    assert net.pace.events == ["turn"] * 3
    assert len(net.requests) == 3


async def test_a_turn_too_far_away_is_reported_as_it_is_and_nobody_is_asked():
    refusal = ProviderRateLimited("vendor", "not soon", 900.0)
    net = Net(ok())
    net.pace.refusal = refusal
    with pytest.raises(ProviderRateLimited) as caught:
        await net.get()
    assert caught.value is refusal
    assert caught.value.__context__ is None
    assert net.requests == []


async def test_a_repetition_without_a_turn_is_reported_as_well():
    refusal = ProviderRateLimited("vendor", "not soon", 900.0)

    def busy(request):
        net.pace.refusal = refusal
        return httpx2.Response(503)

    net = Net(busy)
    assert await net.failure(ProviderRateLimited) is refusal
    assert len(net.requests) == 1


async def test_waiting_for_a_turn_takes_nothing_from_the_time_an_answer_has():
    class Slow(FakePace):
        async def turn(self):
            net.time += 100.0

    net = Net(httpx2.Response(500), httpx2.Response(500), httpx2.Response(500), ok())
    net.pace = Slow()
    assert (await net.get(limits=Limits(total=50))).status == 200


@pytest.mark.parametrize(
    ("status", "header", "holds"),
    [
        (429, {"retry-after": "7"}, [7.0]),
        (503, {"retry-after": "7"}, [7.0]),
        (429, {"retry-after": "0"}, []),
        (500, {"retry-after": "7"}, []),
        (408, {}, []),
        (503, {}, []),
    ],
)
async def test_a_vendor_who_asks_for_a_wait_is_left_alone_by_all(status, header, holds):
    net = Net(httpx2.Response(status, headers=header), ok())
    await net.get()
    assert net.pace.holds == holds
    assert net.pace.events == ["turn", *holds, "turn"]


async def test_asked_too_often_all_rest_as_long_as_we_do():
    net = Net(httpx2.Response(429), httpx2.Response(429), ok())
    await net.get()
    assert net.pace.holds == net.sleeps
    assert len(net.sleeps) == 2


@pytest.mark.parametrize(("header", "hold"), [({"retry-after": "3000"}, 3000.0), ({}, 120.0)])
async def test_a_ban_holds_all_and_is_reported_at_once(header, hold):
    net = Net(httpx2.Response(418, headers=header))
    await net.failure(ProviderRateLimited)
    assert net.pace.events == ["turn", hold]
    assert len(net.requests) == 1


async def test_an_answer_that_was_the_last_of_its_allowance_is_given_and_holds_all():
    net = Net(ok(**{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}))
    assert (await net.get()).body == b"data"
    assert net.pace.events == ["turn", 12.0]
    net = Net(httpx2.Response(404, headers={"ratelimit-remaining": "0", "ratelimit-reset": "12"}))
    await net.failure(SymbolNotFound)
    assert net.pace.holds == [12.0]


def test_markup_and_nothing_are_not_quoted():
    quoted = {
        body: Answer(status=200, headers={}, body=body).excerpt for body in (b"", b" <html>", b"a\n b" * 200)
    }
    assert quoted[b""] == "an empty body"
    assert quoted[b" <html>"] == "a page of markup"
    assert len(quoted[b"a\n b" * 200]) == 300
