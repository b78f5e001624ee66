"""The head of a page: what and when, and one verdict line that says whether all is well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any, Protocol

from factory_lib.clock import MADRID
from factory_lib.results import JobResult
from factory_lib.views.palette import LEVEL

FIGURES_MIME = "application/vnd.factory.figures+json"
_MARK = {"ok": "✓", "warn": "!", "fail": "✗"}


class Outcome(Protocol):
    """What every job returns: a sentence, how good it is, and its key figures."""

    @property
    def verdict(self) -> str:
        """One sentence a person can act on."""

    @property
    def level(self) -> str:
        """``ok``, ``warn`` or ``fail``."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """Key figures, kept in the run's record."""


class Html:
    """HTML that Jupyter shows, with the figures that the run's record keeps beside it."""

    def __init__(self, html: str, *, text: str, figures: Mapping[str, Any] | None = None) -> None:
        self.html = html
        self.text = text
        self.figures = figures

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/html": self.html, "text/plain": self.text}
        return bundle if self.figures is None else {**bundle, FIGURES_MIME: dict(self.figures)}

    def __repr__(self) -> str:
        return self.text


def local(instant: datetime) -> str:
    """Return an instant in local and UTC time, for people."""
    there = instant.astimezone(MADRID)
    return f"{there:%A %-d %B %Y, %H:%M} in Linares ({instant:%Y-%m-%d %H:%MZ})"


class Page(Protocol):
    """What a heading tells about: which profile, judged at which instant, and whether its store is simulated."""

    @property
    def profile(self) -> str:
        """The profile's name."""

    @property
    def as_of(self) -> datetime:
        """Nothing that became available later was read."""

    @property
    def simulated(self) -> bool:
        """Whether the store is stamped as simulated."""


def heading(page: Page) -> Html:
    """Return the line below a page's title: profile and as-of; a simulated store says so where it cannot be missed."""
    badge = '<strong style="color:#8a4b00">SIMULATED</strong> · ' if page.simulated else ""
    when = local(page.as_of)
    html = f'<div style="opacity:.75">{badge}profile <code>{escape(page.profile)}</code> · as of {escape(when)}</div>'
    text = f"{'SIMULATED · ' if page.simulated else ''}profile {page.profile}, as of {when}"
    return Html(html, text=text, figures={"simulated": page.simulated})


def verdict(outcome: Outcome, **more: Any) -> Html:
    """Return the verdict line; its figures (and ``more``) go into the run's record."""
    colour = LEVEL[outcome.level]
    html = (
        f'<div style="border-left:5px solid {colour};background:{colour}1a;padding:.7em 1em;margin:.8em 0;'
        f'border-radius:0 4px 4px 0;font-size:1.08em"><strong style="color:{colour}">{_MARK[outcome.level]}</strong> '
        f"{escape(outcome.verdict)}</div>"
    )
    told = {"verdict": outcome.verdict, "level": outcome.level, **outcome.figures, **more}
    return Html(html, text=f"[{outcome.level}] {outcome.verdict}", figures=told)


def summary(result: JobResult, **more: Any) -> Html:
    """Return the summary line; its status and metrics (and ``more``) go into the run's record."""
    colour = LEVEL[result.status]
    html = (
        f'<div style="border-left:5px solid {colour};background:{colour}1a;padding:.7em 1em;margin:.8em 0;'
        f'border-radius:0 4px 4px 0;font-size:1.08em"><strong style="color:{colour}">{_MARK[result.status]}</strong> '
        f"{escape(result.summary)}</div>"
    )
    metrics = {"verdict": result.summary, "level": result.status, **result.metrics, **more}
    return Html(html, text=f"[{result.status}] {result.summary}", figures=metrics)


def notes(lines: list[str] | tuple[str, ...]) -> Html:
    """Return remarks as a list; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>" if items else "", text="\n".join(f"- {line}" for line in lines))


def text(words: str) -> Html:
    """Return plain text as it is written, line by line, for copying into a message."""
    style = "white-space:pre-wrap;font:inherit;line-height:1.5;margin:.6em 0;padding:.8em 1em;background:#7f8c9a14"
    return Html(f'<pre style="{style}">{escape(words)}</pre>', text=words)
