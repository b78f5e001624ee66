"""Requests as a provider sees them, and answers: all that server and wire formats exchange."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from factory_sim.holes import Holes
from factory_sim.world import World

JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, complete."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """A request as the provider sees it.

    Attributes
    ----------
    path : str
        The provider's own path, with a leading slash.
    base_url : str
        Where the provider stands, for answers that contain addresses.
    quirks : frozenset of str
        Behaviours switched on for this request, from the provider's ``quirks``.
    documents : dict
        What the provider remembers between requests; emptied with the server.
    """

    source: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    base_url: str
    now: datetime
    world: World
    holes: Holes
    documents: dict[str, Any]
    quirks: frozenset[str] = frozenset()
    ordinal: int = 0

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a query parameter."""
        return self.query.get(name, [default])[-1]


@dataclass(frozen=True)
class Provider:
    """One provider's wire format.

    Attributes
    ----------
    answer : callable
        From request to answer, when nothing is wrong with the line.
    quirks : mapping of str to str
        Behaviours of this provider that a fault rule may switch on, with a description.
    refusals : mapping of str to Answers
        How it words ``too_many``, ``server_error``, ``unauthorised``, ``forbidden``;
        one of them is drawn.
    """

    answer: Callable[[Ask], Answer]
    quirks: Mapping[str, str] = field(default_factory=dict)
    refusals: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)


def as_json(content: Any, status: int = 200, content_type: str = JSON) -> Answer:
    """Return ``content`` as a compact JSON answer in UTF-8."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, content_type)


def as_html(title: str, text: str, status: int) -> Answer:
    """Return a page for people, as firewalls and web servers send where data was asked for."""
    head = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
    page = f"{head}<body><h1>{title}</h1><p>{text}</p></body></html>"
    return Answer(status, page.encode(), HTML)


def number(value: float) -> int | float:
    """Return a JSON number as providers print it: whole numbers without a decimal point."""
    return int(value) if float(value).is_integer() else float(value)
