"""One GET to a provider, from taking a turn to a typed answer.

Order of an attempt: circuit, turn, send, judge by status, content type and body
together, note one line for the metrics. Keys travel in headers or queries, and are in
no URL, error or log line that leaves this module.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from factory_lib.clock import Clock
from factory_lib.errors import (
    AuthError,
    MalformedResponse,
    NoSimulator,
    QuotaError,
    ServerError,
    SourceError,
    Unreachable,
)
from factory_lib.http.response import QUOTA_PAUSE_S, Reply, ResponseCheck, classify_response
from factory_lib.http.retry import policy
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret, hide
from factory_lib.state import State, breaker, limiter
from factory_lib.state.calls import Call, record_call

if TYPE_CHECKING:
    import requests

# some providers' firewalls refuse anything less like a browser
USER_AGENT = "Mozilla/5.0 (compatible; factory_lib)"
REDIRECTS = 3
LONGEST_DETAIL = 300
Params = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class _Request:
    url: str
    params: Params
    headers: Mapping[str, str]
    secret_params: Mapping[str, Secret]
    secret_headers: Mapping[str, Secret]


class Http:
    """The only door to one provider.

    Parameters
    ----------
    source : str
        Name in ``[sources]``; also the key of its spacing, quota and breaker.
    """

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
    ) -> Reply:
        """Ask, as often as it makes sense, and return an answer that can be parsed.

        Parameters
        ----------
        path : str
            Below the provider's base address; an absolute address must lie on the same
            host.
        secret_params, secret_headers : mapping of str to Secret
            Keys, revealed for the request only and never sent to another host.
        check : callable, optional
            What this provider means by a reply: the error it stands for, or None to
            judge it by the general rules.

        Raises
        ------
        SourceError
            The typed reason why there is no answer.
        """
        request = _Request(
            self._address(path),
            params or {},
            headers or {},
            secret_params or {},
            secret_headers or {},
        )
        sent = (*request.secret_params.values(), *request.secret_headers.values())
        self._used += [secret for secret in sent if secret not in self._used]
        try:
            for attempt in policy(self.limits, self._clock):
                with attempt:
                    return self._attempt(request, check)
        except SourceError as error:
            raise self.masked(error) from None
        raise AssertionError("the retry policy re-raises")

    def mask(self, text: str) -> str:
        """Return ``text`` without any secret: those of the settings, and those handed to ``get`` (session tokens)."""
        return self._settings.secrets.mask(hide(text, self._used))

    def masked(self, error: SourceError) -> SourceError:
        """Return ``error`` without secrets, then shortened: providers like to quote what they were sent."""
        told = self.mask(error.detail)[:LONGEST_DETAIL]
        error.message, error.detail = error.message.replace(error.detail, told), told
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

    def _attempt(self, request: _Request, check: ResponseCheck | None) -> Reply:
        hosts, host, clock, rules = (
            self._state.hosts,
            self.source,
            self._clock,
            self._settings.breaker,
        )
        if self._settings.simulated and not self._settings.simulator_url:
            raise NoSimulator(host)
        breaker.refuse_if_open(hosts, host, clock.now())
        limiter.acquire(hosts, host, self.limits, clock)
        breaker.acquire(hosts, host, clock.now(), rules)
        began, at, size, status = time.perf_counter(), clock.now(), 0, Unreachable.__name__
        try:
            reply = self._send(request)
            size, status = len(reply.content), str(reply.status)
            if error := (check(reply) if check else None) or classify_response(host, reply):
                raise error
        except (ServerError, Unreachable):
            breaker.record_failure(hosts, host, clock.now(), rules, status)
            raise
        except QuotaError as error:
            pause = timedelta(seconds=error.retry_after_s or QUOTA_PAUSE_S)
            limiter.block_until(hosts, host, clock.now() + pause)
            raise
        except SourceError:
            breaker.record_success(hosts, host)  # it works, and only has nothing for us
            raise
        finally:
            ms = (time.perf_counter() - began) * 1000
            record_call(self._state, Call(at, "http", host, status, size=size, duration_ms=ms))
        breaker.record_success(hosts, host)
        return reply

    def _send(self, request: _Request) -> Reply:
        import requests

        url, query = (
            request.url,
            {**request.params, **{k: v.reveal() for k, v in request.secret_params.items()}},
        )
        keys = {name: self._sendable(secret) for name, secret in request.secret_headers.items()}
        timeout = (self.limits.connect_timeout_s, self.limits.read_timeout_s)
        self._session = self._session or _open_session()
        try:
            for _ in range(REDIRECTS + 1):
                answer = self._session.get(
                    url,
                    params=query,
                    headers={**request.headers, **keys},
                    timeout=timeout,
                    allow_redirects=False,
                )
                if not answer.is_redirect:
                    return Reply(answer.status_code, answer.headers, answer.content)
                url, before, query = urljoin(url, answer.headers["location"]), url, {}
                if self._origin(url) != self._origin(before):
                    keys = {}
                    if self._settings.simulated:
                        raise MalformedResponse(
                            self.source, "the simulator redirects to a real host"
                        )
        except requests.RequestException as error:
            # Its text holds the address with the query: only its kind is told.
            raise Unreachable(self.source, f"no answer ({type(error).__name__})") from None
        raise MalformedResponse(self.source, f"more than {REDIRECTS} redirects")

    def _sendable(self, secret: Secret) -> str:
        text = secret.reveal()
        if not (text.isascii() and text.isprintable()):
            raise AuthError(self.source, "the key holds characters that no key has")
        return text


def _open_session() -> requests.Session:
    import requests

    session = requests.Session()
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"})
    for name in ("urllib3.connectionpool", "urllib3.connection"):
        logging.getLogger(name).addFilter(
            _without_queries
        )  # adding the same filter again changes nothing
    return session


def _without_queries(record: logging.LogRecord) -> bool:
    """Cut the query off every address that the HTTP library logs: keys travel there."""
    record.msg, record.args = re.sub(r"\?\S*", "?…", record.getMessage()), None
    return True
