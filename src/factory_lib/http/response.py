"""A provider's reply, and the error it stands for by status, content type and body together."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
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
    def retry_after_s(self) -> float | None:
        """Seconds of ``Retry-After``, None without it; a date counts from the reply's ``Date``."""
        retry_after = self.headers.get("retry-after", "").strip()
        if retry_after.isdecimal():
            return min(float(retry_after), LONGEST_PAUSE_S)
        try:
            until = parsedate_to_datetime(retry_after)
            sent = parsedate_to_datetime(self.headers.get("date", ""))
            return min(max(0.0, (until - sent).total_seconds()), LONGEST_PAUSE_S)
        except (ValueError, TypeError):
            return None


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
