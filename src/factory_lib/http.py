"""One GET to a provider, from the wait for its turn to a typed answer.

Order of an attempt: circuit, turn, send, classify by status, content type and body
together, record one call for the metrics. Keys travel in headers or queries, and are in
no URL, error or log line that leaves this module.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from threading import Event, Timer
from urllib.parse import urljoin, urlsplit

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_fixed, wait_incrementing, wait_random

from factory_lib.clock import Clock
from factory_lib.errors import (
    AuthError,
    BadCertificate,
    BadRange,
    MalformedResponse,
    NoDataYet,
    NoSimulator,
    QuotaError,
    ReadTimeout,
    ServerError,
    SourceError,
    Unreachable,
)
from factory_lib.settings import Settings
from factory_lib.settings.records import SourceSettings
from factory_lib.settings.secrets import Secret, hide
from factory_lib.state import State, limiter
from factory_lib.state.calls import Call, record_call
from factory_lib.state.limiter import LONGEST_WAIT_S

# some providers' firewalls refuse anything less like a browser
USER_AGENT = "Mozilla/5.0 (compatible; factory_lib)"
REDIRECTS = 3
LONGEST_DETAIL = 300
Params = Mapping[str, str | list[str]]


JITTER = wait_random(0, 1)
BACKOFFS: dict[str, Callable[[SourceSettings], wait_base]] = {
    "none": lambda limits: wait_fixed(0),  # the spacing alone is wait enough
    "fixed": lambda limits: wait_fixed(limits.spacing_s),
    "linear": lambda limits: wait_incrementing(start=1, increment=1) + JITTER,
    "exponential": lambda limits: wait_exponential(exp_base=2, max=60.0) + JITTER,
}
LONGEST_PAUSE_S = 86400.0
QUOTA_PAUSE_S = 60.0  # limits are per minute, and hardly any provider says how long to wait

# Unpacked. The largest answer of a provider, a year of hourly weather, has 2 MB.
MOST_BYTES = 64_000_000
LONGEST_ANSWER_S = 180.0  # three times the longest wait for its next part
CHUNK = 65_536  # packed a thousandfold, one is still within the limit

_CLOSING = {b"{": b"}", b"[": b"]"}  # the last byte of a JSON body by its first


@dataclass(frozen=True)
class Reply:
    """One reply as it came; ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body by its declared charset, else UTF-8, else Latin-9, which decodes anything."""
        content_type = self.headers.get("content-type", "")
        declared = re.search(r"charset=\"?([\w.:-]+)", content_type, re.IGNORECASE)
        for charset in (declared[1] if declared else "utf-8", "utf-8"):
            with suppress(LookupError, UnicodeError):
                return self.content.decode(charset)
        return self.content.decode("iso-8859-15")

    @property
    def is_html(self) -> bool:
        """Whether a page came instead of data, whatever its content type."""
        opening = self.content.lstrip()[:20].lower()
        return opening.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))

    @property
    def is_cut_off(self) -> bool:
        """Whether JSON begins and does not end."""
        body = self.content.strip()
        closing = _CLOSING.get(body[:1])
        return closing is not None and body[-1:] != closing

    @property
    def made_at(self) -> datetime | None:
        """The instant at which the provider made it, by its clock (``Date``).

        None where it does not say, or not in a way that can be read: a header that is of no
        use costs no value.
        """
        return _instant(self.headers.get("date", ""))

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of ``Retry-After``, None without it; a date counts from the reply's ``Date``."""
        retry_after = self.headers.get("retry-after", "").strip()
        if retry_after.isdecimal():
            return min(float(retry_after), LONGEST_PAUSE_S)
        until = _instant(retry_after)
        if until is None or self.made_at is None:
            return None
        return min(max(0.0, (until - self.made_at).total_seconds()), LONGEST_PAUSE_S)


def _instant(text: str) -> datetime | None:
    """Return the instant of a header (RFC 9110), None where there is none."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC)


ResponseCheck = Callable[[Reply], SourceError | None]

# error and detail by status; the reply's own text is quoted after a detail that ends in "it says"
_REFUSALS: dict[int, tuple[type[SourceError], str]] = {
    400: (BadRange, "the request was refused; it says"),
    401: (AuthError, "the key was refused"),
    403: (AuthError, "access was refused; it says"),
    404: (NoDataYet, "there is nothing at that address"),
}


def classify_response(source: str, reply: Reply) -> SourceError | None:
    """Return the error a reply stands for at any provider, or None if it can be parsed."""
    status = reply.status
    if status == 429:
        return QuotaError(
            source,
            "too many requests",
            status=status,
            retry_after_s=reply.retry_after_s or QUOTA_PAUSE_S,
        )
    if status >= 500 or status == 408:
        return ServerError(
            source,
            "the provider's server failed",
            status=status,
            retry_after_s=reply.retry_after_s,
        )
    if status in (200, 403) and reply.is_html:
        return ServerError(
            source, "a page came instead of data, likely from a firewall", status=status
        )
    if 200 <= status < 300:
        return (
            ServerError(source, "the answer is cut off", status=status)
            if reply.is_cut_off
            else None
        )
    error, detail = _REFUSALS.get(status, (MalformedResponse, "unexpected answer; it says"))
    quote = f" {reply.text.strip()!r}" if detail.endswith("says") else ""
    return error(source, f"{detail}{quote}", status=status)


class Http:
    """The client of one provider; nothing else sends requests to it.

    Parameters
    ----------
    source : str
        Name in ``[sources]``; also the key of its spacing, quota and breaker.

    Attributes
    ----------
    made_at : datetime or None
        When the provider made its last reply, by its own clock.
    """

    made_at: datetime | None = None

    def __init__(self, source: str, settings: Settings, state: State, clock: Clock) -> None:
        self.source = source
        self.limits = settings.sources[source]
        self._settings = settings
        self._state = state
        self._clock = clock
        self._session: requests.Session | None = None
        self._used: list[Secret] = []

    def get(
        self,
        path: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        secret_params: Mapping[str, Secret] | None = None,
        secret_headers: Mapping[str, Secret] | None = None,
        check: ResponseCheck | None = None,
        retry_timeout: bool = True,
    ) -> Reply:
        """Send a request, retry what can succeed, and return an answer that can be parsed.

        Parameters
        ----------
        path : str
            Below the provider's base address; an absolute address must lie on the same
            host.
        secret_params, secret_headers : mapping of str to Secret
            Keys, revealed for the request only.
        check : callable, optional
            The error that a reply of this provider stands for, or None to classify it
            by the general rules.
        retry_timeout : bool
            False where the caller asks for less instead, when the answer takes too long.

        Raises
        ------
        SourceError
            The typed reason why there is no answer.
        """
        secret_params = secret_params or {}
        secret_headers = secret_headers or {}
        secrets = (*secret_params.values(), *secret_headers.values())
        self._used += [secret for secret in secrets if secret not in self._used]
        url = self._address(path)
        send = partial(self._send, url, params or {}, headers or {}, secret_params, secret_headers)
        try:
            return policy(self.limits, self._clock, retry_timeout)(self._attempt, send, check)
        except SourceError as error:
            raise self.masked(error) from None

    def mask(self, text: str) -> str:
        """Return ``text`` without secrets: those of the settings, and those given to ``get``."""
        return self._settings.secrets.mask(hide(text, self._used))

    def masked(self, error: SourceError) -> SourceError:
        """Return ``error`` without secrets and shortened: providers quote what they were sent."""
        detail = self.mask(error.detail)[:LONGEST_DETAIL]
        error.message = error.message.replace(error.detail, detail)
        error.detail = detail
        error.args = (f"{error.message} {error.next_step}".strip(),)
        return error

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def _address(self, path: str) -> str:
        base = self.limits.base_url
        url = path if "://" in path else base.rstrip("/") + path
        if self._origin(url) != self._origin(base):
            raise MalformedResponse(self.source, "it sends us to another host")
        return url

    def _origin(self, url: str) -> tuple[str, str]:
        try:
            return urlsplit(url)[:2]
        except ValueError:
            raise MalformedResponse(self.source, "it sends us to what is no address") from None

    def _attempt(self, send: Callable[[], Reply], check: ResponseCheck | None) -> Reply:
        host = self.source
        if self._settings.simulated and not self._settings.simulator_url:
            raise NoSimulator(host)
        limiter.refuse_if_open(self._state.hosts, host, self._clock.now())
        limiter.acquire(self._state.hosts, host, self.limits, self._clock)
        limiter.pass_breaker(self._state.hosts, host, self._clock.now(), self._settings.breaker)
        call = Call(self._clock.now(), "http", host, Unreachable.__name__)
        began = time.perf_counter()
        try:
            reply = send()
            self.made_at = reply.made_at
            call = call._replace(status=str(reply.status), size=len(reply.content))
            if error := (check(reply) if check else None) or classify_response(host, reply):
                raise error
        except SourceError as error:
            self._record_outcome(error, call.status)
            raise
        finally:
            record_call(
                self._state, call._replace(duration_ms=(time.perf_counter() - began) * 1000)
            )
        self._record_outcome(None, call.status)
        return reply

    def _record_outcome(self, error: SourceError | None, status: str) -> None:
        """Tell limiter and breaker how a request ended."""
        now = self._clock.now()
        if isinstance(error, ServerError | Unreachable):
            limiter.record_failure(
                self._state.hosts, self.source, now, self._settings.breaker, status
            )
        elif isinstance(error, QuotaError):
            pause = timedelta(seconds=error.retry_after_s or QUOTA_PAUSE_S)
            limiter.block_until(self._state.hosts, self.source, now + pause)
        else:  # it works, even where it has nothing for us
            limiter.record_success(self._state.hosts, self.source)

    def _send(
        self,
        url: str,
        params: Params,
        headers: Mapping[str, str],
        secret_params: Mapping[str, Secret],
        secret_headers: Mapping[str, Secret],
    ) -> Reply:
        query = {**params, **{name: key.reveal() for name, key in secret_params.items()}}
        keys = {name: self._sendable(key) for name, key in secret_headers.items()}
        self._session = self._session or _open_session()
        try:
            return self._follow(self._session, url, query, headers, keys)
        except OSError as error:  # those of requests, and a ca_bundle that is no file
            raise self._no_answer(error) from None
        except ValueError:  # of the standard library, which reads the address of a redirect
            raise MalformedResponse(self.source, "it sends us to what is no address") from None

    def _follow(
        self,
        session: requests.Session,
        url: str,
        query: Params,
        headers: Mapping[str, str],
        keys: Mapping[str, str],
    ) -> Reply:
        """Send the request, and follow its redirects on the same host."""
        for _ in range(REDIRECTS + 1):
            answer = session.get(
                url,
                params=query,
                headers={**headers, **keys},
                timeout=(self.limits.connect_timeout_s, self.limits.read_timeout_s),
                allow_redirects=False,
                verify=self.limits.ca_bundle or True,
                stream=True,
            )
            if not answer.is_redirect:
                body = read_body(self.source, answer)
                return Reply(answer.status_code, answer.headers, body)
            answer.close()
            target = urljoin(url, answer.headers["location"])
            self._refuse_another_host(url, target)
            url = target
            query = {}
        raise MalformedResponse(self.source, f"more than {REDIRECTS} redirects")

    def _refuse_another_host(self, url: str, target: str) -> None:
        """Refuse a redirect, unless it stays on the host or makes the connection a secure one.

        The settings trust one host with values, and only that one has limits here.
        """
        host = self._origin(url)
        if self._origin(target) not in (host, ("https", host[1])):
            name = urlsplit(target).hostname
            raise MalformedResponse(
                self.source,
                f"it sends us to another host, {name}, and is not followed; where it moved "
                f"for good, correct base_url of [sources.{self.source}]",
            )

    def _no_answer(self, error: OSError) -> Unreachable:
        """Return why there is no answer; the text holds the query, so only its kind is shown."""
        if not isinstance(error, requests.RequestException):
            return BadCertificate(self.source, "the file of ca_bundle cannot be read")
        if isinstance(error, requests.exceptions.SSLError):
            return BadCertificate(self.source, "its certificate cannot be verified")
        kind = ReadTimeout if isinstance(error, requests.ReadTimeout) else Unreachable
        return kind(self.source, f"no answer ({type(error).__name__})")

    def _sendable(self, secret: Secret) -> str:
        text = secret.reveal()
        if not (text.isascii() and text.isprintable()):
            raise AuthError(self.source, "the key holds characters that no key has")
        return text


def read_body(source: str, answer: requests.Response) -> bytes:
    """Return the unpacked body of an answer that was asked for as a stream.

    Raises
    ------
    MalformedResponse
        If it is larger than any answer is, or its packing or chunks are damaged.
    ReadTimeout
        If it takes longer than any answer does, however steadily it comes.
    requests.RequestException
        If it breaks off.
    """
    late = Event()

    def give_up() -> None:
        late.set()
        answer.raw.shutdown()

    timer = Timer(LONGEST_ANSWER_S, give_up)
    timer.daemon = True
    timer.start()
    body = bytearray()
    try:
        for part in answer.iter_content(CHUNK):
            body += part
            if len(body) > MOST_BYTES:
                raise MalformedResponse(
                    source, f"the answer has more than {MOST_BYTES / 1e6:.0f} MB"
                )
    except requests.exceptions.ContentDecodingError:
        raise MalformedResponse(source, "the answer is packed in a damaged way") from None
    except requests.RequestException:
        if late.is_set():
            raise ReadTimeout(source, f"no whole answer in {LONGEST_ANSWER_S:.0f} s") from None
        raise
    except ValueError:  # of the standard library, for a chunk of no length
        raise MalformedResponse(source, "the answer is cut into damaged chunks") from None
    finally:
        timer.cancel()
        answer.close()
    return bytes(body)


def _open_session() -> requests.Session:
    session = requests.Session()
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"})
    for name in ("urllib3.connectionpool", "urllib3.connection"):
        # adding the same filter again changes nothing
        logging.getLogger(name).addFilter(_without_queries)
    return session


def _without_queries(record: logging.LogRecord) -> bool:
    """Cut the query off every address that the HTTP library logs: keys travel there."""
    record.msg = re.sub(r"\?\S*", "?…", record.getMessage())
    record.args = None
    return True


def policy(limits: SourceSettings, clock: Clock, retry_timeout: bool = True) -> Retrying:
    """Return the retry policy of one provider; it sleeps on ``clock``.

    No retry comes sooner than the provider's ``Retry-After``, and none after an answer that
    took too long unless ``retry_timeout``.
    """
    backoff = BACKOFFS[limits.backoff](limits)

    def wait(call: RetryCallState) -> float:
        error = call.outcome.exception() if call.outcome else None
        retry_after_s = error.retry_after_s if isinstance(error, SourceError) else None
        return max(backoff(call), retry_after_s or 0.0)

    def is_worth_another_try(error: BaseException) -> bool:
        return (
            isinstance(error, SourceError)
            and error.retryable
            and (error.retry_after_s or 0.0) <= LONGEST_WAIT_S
            and (retry_timeout or not isinstance(error, ReadTimeout))
        )

    return Retrying(
        stop=stop_after_attempt(limits.retries + 1),
        wait=wait,
        retry=retry_if_exception(is_worth_another_try),
        sleep=clock.sleep,
        reraise=True,
    )
