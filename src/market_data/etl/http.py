"""The one way out to vendors: paced, retried, bounded in time and size, and silent about secrets.

Every failure is a value until the last moment and is raised outside any `except` block: an exception chain
that held the HTTP library's error would hold the request, its URL, and with it the key.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import httpx2
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_result
from tenacity.wait import wait_random_exponential

from market_data import __version__
from market_data.core import metrics
from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
)
from market_data.etl.address import address_of, same_server
from market_data.etl.answer import Answer, Explain, error_of
from market_data.etl.pace import Pace
from market_data.etl.redaction import Redactor, silence_http_loggers
from market_data.etl.throttle import pause_of

log = structlog.get_logger(__name__)

USER_AGENT = f"market-data-backend-platform/{__version__}"
_TRANSIENT = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ProxyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one request; times in seconds, sizes in bytes."""

    connect: float = 10.0
    read: float = 30.0
    """Silence between two pieces of an answer."""
    total: float = 180.0
    """From asking to the answer's last byte, repetitions and the waits between them included, but not the
    waits for one's turn: those are no fault of the vendor's."""
    attempts: int = 4
    backoff: float = 0.5
    """Least wait before a repetition; the most starts at 1 s and doubles each time, up to `backoff_max`."""
    backoff_max: float = 20.0
    retry_after_max: float = 60.0
    """A vendor who asks for a longer wait is reported at once."""
    body: int = 64 * 1024 * 1024
    """Counted after decompression, while it arrives."""
    redirects: int = 3


@dataclass(frozen=True, slots=True)
class _Failure:
    error: ProviderError
    again: bool = False
    after: float | None = None


@cache
def _trusted() -> ssl.SSLContext:
    """Read whom this computer trusts once: it takes 60 ms, and every job has a client of its own."""
    return httpx2.create_ssl_context()


class HttpClient:
    """GET requests to one provider at `base_url`, each at the turn that `pace` gives it.

    `transport` stands in for the network.
    `sleep` and `clock` (monotonic seconds) exist for tests. An async context manager; or call `aclose`.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        pace: Pace,
        secrets: tuple[str, ...] = (),
        transport: httpx2.AsyncBaseTransport | None = None,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        silence_http_loggers()
        self.name = name
        self.limits = limits or Limits()
        self._base_url = base_url.rstrip("/")
        self.pace = pace
        self._redactor = Redactor(secrets)
        self._sleep = sleep
        self._clock = clock
        self._client = httpx2.AsyncClient(
            transport=transport,
            verify=_trusted(),
            timeout=httpx2.Timeout(self.limits.read, connect=self.limits.connect),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def redact(self, text: str) -> str:
        """Mask this provider's secrets in words meant for people."""
        return self._redactor.text(text)

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        explain: Explain | None = None,
    ) -> Answer:
        """Ask for `path` (with leading slash, already quoted) under the base URL; what returns is 2xx.

        Connection and read errors, cut-off bodies, broken answers, 408, 429 and 5xx are repeated after
        jittered exponential waits or the vendor's own Retry-After, a pause for everybody of this pace.
        `explain` may name a better error than the status alone; what stays broken is returned.

        Raises:
            ProviderAuthError: 401, 403.
            ProviderRateLimited: 418 at once; 429 after all attempts, or at once when told to wait too long;
                without asking, when the pace has no turn soon.
            SymbolNotFound: 404, 410.
            UnsupportedRequest: any other 4xx.
            MalformedAnswer: a body too large or wrongly compressed.
            ProviderUnavailable: 5xx, no connection, no end in time, or a redirect to elsewhere.

        """
        outcome: Answer | _Failure
        url = address_of(self._base_url + path, params)
        if url is None:
            outcome = self._unavailable(f"{self._base_url} is no usable server address")
        else:
            outcome = await self._persist(url, headers or {}, explain)
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome

    async def _persist(
        self, url: httpx2.URL, headers: Mapping[str, str], explain: Explain | None
    ) -> Answer | _Failure:
        await self.pace.turn()
        deadline = self._clock() + self.limits.total

        def enough(state: RetryCallState) -> bool:
            late = self._clock() + state.upcoming_sleep > deadline
            return late or state.attempt_number >= self.limits.attempts

        async def rest(seconds: float) -> None:
            nonlocal deadline
            metrics.provider_retried(self.name)
            log.debug("provider_retry", provider=self.name, path=self.redact(url.path), wait=seconds)
            await self._sleep(seconds)
            deadline += await self._turn()

        async def attempt() -> Answer | _Failure:
            begun = self._clock()
            outcome = await self._attempt(url, headers, explain, max(deadline - begun, 0.001))
            kind = outcome.error.kind if isinstance(outcome, _Failure) else "ok"
            metrics.provider_answered(self.name, kind, self._clock() - begun)
            return outcome

        patiently = AsyncRetrying(
            sleep=rest,
            retry=retry_if_result(lambda one: one.again if isinstance(one, _Failure) else one.broken),
            wait=self._wait,
            stop=enough,
            before_sleep=self._tell_others,
            retry_error_callback=_outcome,
        )
        return await patiently(attempt)

    async def _turn(self) -> float:
        """Wait for one's turn; return how many seconds that took."""
        begun = self._clock()
        await self.pace.turn()
        return self._clock() - begun

    def _wait(self, state: RetryCallState) -> float:
        outcome = _outcome(state)
        if isinstance(outcome, _Failure) and outcome.after is not None:
            return outcome.after
        return wait_random_exponential(1, self.limits.backoff_max, min=self.limits.backoff)(state)

    async def _tell_others(self, state: RetryCallState) -> None:
        """Let nobody ask while this request rests, if what went wrong is that we ask too often."""
        outcome = _outcome(state)
        if not isinstance(outcome, _Failure) or outcome.after is not None:
            return  # a wait of the vendor's was told when its answer came
        if isinstance(outcome.error, ProviderRateLimited):
            await self.pace.hold(state.upcoming_sleep)

    async def _attempt(
        self, url: httpx2.URL, headers: Mapping[str, str], explain: Explain | None, seconds: float
    ) -> Answer | _Failure:
        begun = self._clock()
        try:
            async with asyncio.timeout(seconds):
                outcome = await self._follow(url, headers)
        except TimeoutError:
            return self._unavailable(f"no complete answer within {self.limits.total:g} s")
        except _TRANSIENT as exc:
            return self._unavailable(_described(exc), again=True)
        except httpx2.DecodingError as exc:
            return self._malformed(f"a body that cannot be decompressed: {exc}")
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
            return self._unavailable(_described(exc))
        if isinstance(outcome, _Failure):
            return outcome
        told = {
            "status": outcome.status,
            "bytes": len(outcome.body),
            "seconds": round(self._clock() - begun, 3),
        }
        log.debug("provider_answer", provider=self.name, path=self.redact(url.path), **told)
        if (pause := pause_of(self.name, outcome)) is not None:
            log.info("provider_pause", provider=self.name, status=outcome.status, seconds=round(pause, 2))
            await self.pace.hold(pause)
        return outcome if outcome.status < 300 else self._judge(outcome, explain)

    async def _follow(self, url: httpx2.URL, headers: Mapping[str, str]) -> Answer | _Failure:
        for _ in range(self.limits.redirects + 1):
            async with self._client.stream("GET", url, headers=dict(headers)) as response:
                if not response.has_redirect_location:
                    return await self._read(response)
                onward = url.join(response.headers["location"])
            if not same_server(url, onward):
                return self._unavailable(f"redirects to another server, {onward.scheme}://{onward.host}")
            url = onward
        return self._unavailable(f"redirects more than {self.limits.redirects} times")

    async def _read(self, response: httpx2.Response) -> Answer | _Failure:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > self.limits.body:
                return self._malformed(f"a body larger than {self.limits.body} bytes")
            parts.append(part)
        if _is_cut_off(response, size):
            return self._unavailable("the answer ended before its announced length", again=True)
        headers = {name.lower(): self.redact(value) for name, value in response.headers.items()}
        return Answer(status=response.status_code, headers=headers, body=self._redactor.body(b"".join(parts)))

    def _judge(self, answer: Answer, explain: Explain | None) -> _Failure:
        error = explain(answer) if explain is not None and answer.status >= 400 else None
        if error is None:
            error = error_of(self.name, answer, self.redact(answer.excerpt))
        soon = (answer.retry_after or 0.0) <= self.limits.retry_after_max
        return _Failure(error, answer.temporary and soon, answer.retry_after)

    def _unavailable(self, why: str, *, again: bool = False) -> _Failure:
        return _Failure(ProviderUnavailable(self.name, self.redact(why)), again)

    def _malformed(self, why: str) -> _Failure:
        return _Failure(MalformedAnswer(self.name, self.redact(why)))


def _outcome(state: RetryCallState) -> Answer | _Failure:
    if state.outcome is None:  # tenacity asks only after an attempt
        raise AssertionError
    outcome: Answer | _Failure = state.outcome.result()
    return outcome


def _described(exc: Exception) -> str:
    text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _is_cut_off(response: httpx2.Response, size: int) -> bool:
    """Whether fewer bytes came than announced; the network transport notices by itself, others do not."""
    promised = response.headers.get("content-length", "")
    received = response.num_bytes_downloaded
    if not received and "content-encoding" not in response.headers:
        received = size  # the transport gave a whole body
    return promised.isdecimal() and bool(received) and int(promised) != received
