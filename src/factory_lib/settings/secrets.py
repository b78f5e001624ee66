"""Keys and passwords: from the environment or ``.env``, and never readable by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote


class Secret:
    """A string that shows itself only when asked by ``reveal()``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret(unset)"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")

    def reveal(self) -> str:
        """Return the plain text, for the one header or query that needs it."""
        return self._text


@dataclass(frozen=True)
class Secrets:
    """All secrets of the library.

    The environment variable of each has the field's name in capitals.
    """

    aemet_api_key: Secret
    openweathermap_api_key: Secret
    esios_token: Secret
    siar_user: Secret
    siar_password: Secret
    influxdb_v2_token: Secret
    postgres_dsn: Secret
    alert_urls: Secret  # of apprise, with spaces between them
    heartbeat_url: Secret

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Secrets:
        """Read the known names; what is not set is an empty secret, which is false."""
        return cls(**{f.name: Secret(env.get(f.name.upper(), "")) for f in fields(cls)})

    def mask(self, text: str) -> str:
        """Return ``text`` with every known secret replaced, for whatever leaves the process."""
        return hide(text, (getattr(self, spec.name) for spec in fields(self)))


def hide(text: str, secrets: Iterable[Secret]) -> str:
    """Return ``text`` without the secrets, in whatever form it has them.

    Secrets of fewer than four letters are not hidden. The user of any address is, from
    whatever setting or error it came; so is the password within a secret address, alone.
    """
    texts = [secret.reveal() for secret in secrets]
    words = [word for each in texts for word in each.split()]
    passwords = [password for each in texts for password in _passwords(each)]
    for plain in (*words, *passwords):
        if len(plain) >= 4:
            for form in _forms(plain):
                text = text.replace(form, "***")
    return hide_users(text)


def hide_users(text: str) -> str:
    """Return ``text`` without user and password of the addresses in it."""
    text = _USER.sub(r"\1***@", text) if "@" in text else text
    return _QUERY.sub(r"\1***", text) if "password=" in text else text


def _passwords(text: str) -> Iterator[str]:
    """Yield the passwords of an address, or of words as libpq reads them, as they are meant."""
    for match in _PASSWORD.finditer(text):
        written = next(filter(None, match.groups()), "")
        yield unquote(written)
        yield re.sub(r"\\(.)", r"\1", written)
        yield unquote(written.partition("&")[0])


# scheme://user:password@host; a user or password with a / or @ is written in percent code
_PASSWORD = re.compile(r"//[^:/@]*:([^@]+)@|\b(?:ssl)?password\s*=\s*(?:'((?:\\.|[^'\\])+)'|(\S+))")
_USER = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2})[^\s/\\@\"'<>]+@")

_QUERY = re.compile(r"([?&;](?:ssl)?password=)[^\s&\\\"'<>]+")


@cache
def _forms(plain: str) -> tuple[str, ...]:
    """Return the ways in which addresses, JSON and pages write a secret, the longest first."""
    forms = {plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
    # A page lies within a notebook, which is JSON; an answer in JSON is shown on a page.
    for _ in range(2):
        forms |= {rewritten for form in forms for rewritten in _rewritten(form)}
    return tuple(sorted(forms, key=len, reverse=True))


def _rewritten(text: str) -> tuple[str, ...]:
    page = escape(text)
    numbered = page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")  # as templates do
    return (
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        escape(text, quote=False),
        page,
        numbered,
    )


def read_dotenv(file: Path) -> dict[str, str]:
    """Return the ``NAME=value`` lines of a ``.env`` file, without comments and quotes.

    Text of another encoding than UTF-8 is read as that of a Spanish Windows.
    """
    if not file.is_file():
        return {}
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    pairs = (
        line.removeprefix("export ").partition("=")
        for line in map(str.strip, text.splitlines())
        if line and not line.startswith("#") and "=" in line
    )
    return {name.strip(): _unquoted(value.strip()) for name, _, value in pairs}


def _unquoted(value: str) -> str:
    """Return a value without its quotes, or, where it has none, without a comment behind it."""
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
