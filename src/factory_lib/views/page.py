"""Parts of a page: its heading, the summary line and remarks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from factory_lib.clock import MADRID
from factory_lib.results import METRICS_MIME, JobResult
from factory_lib.views.palette import LEVEL

_MARK = {"ok": "✓", "warn": "!", "fail": "✗"}
# white on a colour reads on light and dark pages alike
_CHIP = (
    '<strong style="background:{colour};color:#fff;padding:0 .4em;border-radius:3px">'
    "{text}</strong>"
)
_SIMULATED = _CHIP.format(colour="#8a4b00", text="SIMULATED")
_SUMMARY_STYLE = (
    "border-left:5px solid {colour};background:{colour}1a;padding:.7em 1em;margin:.8em 0;"
    "border-radius:0 4px 4px 0;font-size:1.08em"
)


@dataclass(frozen=True, repr=False)
class Html:
    """HTML that Jupyter shows, with the metrics that the run's record keeps beside it."""

    html: str
    text: str
    metrics: Mapping[str, Any] | None = None

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/html": self.html, "text/plain": self.text}
        return bundle if self.metrics is None else {**bundle, METRICS_MIME: dict(self.metrics)}

    def __repr__(self) -> str:
        return self.text


def prose(text: str) -> str:
    """Return a sentence as HTML; what stands between backticks is a command or a name."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def heading(page: Any) -> Html:
    """Return the line below a page's title: SIMULATED where it applies, profile and as-of.

    Parameters
    ----------
    page : RunContext
        With ``profile``, ``as_of``, ``simulated`` (the stamp of the store), ``site_name``.
    """
    local = page.as_of.astimezone(MADRID)
    when = f"{local:%A %-d %B %Y, %H:%M} in {page.site_name} ({page.as_of:%Y-%m-%d %H:%MZ})"
    badge = f"{_SIMULATED} · " if page.simulated else ""
    profile = f"profile <code>{escape(page.profile)}</code>"
    html = f"<div>{badge}{profile} · as of {escape(when)}</div>"
    mark = "SIMULATED · " if page.simulated else ""
    text = f"{mark}profile {page.profile}, as of {when}"
    return Html(html, text=text, metrics={"simulated": page.simulated})


def summary(result: JobResult) -> Html:
    """Return the summary line; its status and metrics go into the run's record."""
    colour = LEVEL[result.status]
    mark = _CHIP.format(colour=colour, text=_MARK[result.status])
    style = _SUMMARY_STYLE.format(colour=colour)
    html = f'<div style="{style}">{mark} {prose(result.summary)}</div>'
    metrics = {"summary": result.summary, "level": result.status, **result.metrics}
    return Html(html, text=f"[{result.status}] {result.summary}", metrics=metrics)


def notes(lines: Iterable[str]) -> Html:
    """Return remarks as a list; nothing where there are none."""
    remarks = list(lines)
    items = "".join(f"<li>{prose(line)}</li>" for line in remarks)
    text = "\n".join(f"- {line}" for line in remarks)
    return Html(f"<ul>{items}</ul>" if items else "", text=text)
