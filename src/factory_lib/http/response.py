"""What came back, and what it means by status, content type and body together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from factory_lib.errors import (
    AuthError,
    BadRange,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    ServerError,
    SourceError,
)

LONGEST_PAUSE_S = 86400.0
QUOTA_PAUSE_S = 60.0  # limits are per minute, and hardly any provider says how long to wait


@dataclass(frozen=True)
class Reply:
    """One answer, before anybody believes it; ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def content_type(self) -> str:
        """The media type alone, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body by its declared charset, else UTF-8, else Latin-9 (which can decode anything)."""
        declared = re.search(
            r"charset=\"?([\w.:-]+)", self.headers.get("content-type", ""), re.IGNORECASE
        )
        for charset in [*([declared[1]] if declared else []), "utf-8"]:
            try:
                return self.content.decode(charset)
            except (LookupError, UnicodeError):
                continue
        return self.content.decode("iso-8859-15")

    @property
    def is_html(self) -> bool:
        """Whether a page came instead of data, whatever it calls itself."""
        return (
            self.content.lstrip()[:20]
            .lower()
            .startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))
        )

    @property
    def is_cut_off(self) -> bool:
        """Whether JSON begins and does not end."""
        body = self.content.strip()
        return body[:1] in (b"{", b"[") and body[-1:] != {b"{": b"}", b"[": b"]"}[body[:1]]

    @property
    def retry_after_s(self) -> float | None:
        """Seconds the provider asks to wait, if it says so; a date counts from the reply's own ``Date``."""
        asked = self.headers.get("retry-after", "").strip()
        if asked.isdecimal():
            return min(float(asked), LONGEST_PAUSE_S)
        try:
            until, sent = (
                parsedate_to_datetime(asked),
                parsedate_to_datetime(self.headers.get("date", "")),
            )
            return min(max(0.0, (until - sent).total_seconds()), LONGEST_PAUSE_S)
        except (ValueError, TypeError):
            return None


ResponseCheck = Callable[[Reply], SourceError | None]


def classify_response(source: str, reply: Reply) -> SourceError | None:
    """Return the error a reply stands for at any provider, or None if it can be parsed."""
    status, said = reply.status, f"it says {reply.text.strip()!r}"
    if status == 429:
        pause = reply.retry_after_s or QUOTA_PAUSE_S
        return QuotaError(source, "too many requests", status=status, retry_after_s=pause)
    if status >= 500 or status == 408:
        return ServerError(
            source, "the provider's server failed", status=status, retry_after_s=reply.retry_after_s
        )
    if status == 401:
        return AuthError(source, "the key was refused", status=status)
    if status in (200, 403) and reply.is_html:
        return ServerError(
            source, "a page came instead of data, likely from a firewall", status=status
        )
    if status == 403:
        return AuthError(source, f"access was refused; {said}", status=status)
    if status == 404:
        return NoDataYet(source, "there is nothing at that address", status=status)
    if status == 400:
        return BadRange(source, f"the request was refused; {said}", status=status)
    if not 200 <= status < 300:
        return MalformedResponse(source, f"unexpected answer; {said}", status=status)
    return ServerError(source, "the answer is cut off", status=status) if reply.is_cut_off else None
