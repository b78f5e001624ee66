"""Parts of a page: its heading, the summary line and remarks."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from factory_lib.clock import display_zone
from factory_lib.results import METRICS_MIME, JobResult
from factory_lib.views.palette import LEVEL, variable
from factory_lib.views.words import Words

_SIMULATED = (
    f'<strong style="border:1px dashed {variable("line2")};border-radius:4px;padding:1px 6px;'
    'font-size:.8em;letter-spacing:.08em">SIMULATED</strong>'
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


_NAMES = re.compile(
    r"`([^`]+)`|\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b"
    r"|(?<![\w./-])(?:aemet|datosclima|esios|omie|openweathermap|ree|siar)(?![\w/-]|\.\w)"
)


def prose(text: str) -> str:
    """Return a sentence as HTML: code between backticks, internal names in words."""
    return _NAMES.sub(_code_or_words, escape(text))


def _code_or_words(match: re.Match[str]) -> str:
    if match[1]:
        return f"<code>{match[1]}</code>"
    words = Words("en").name(match[0])
    listed = words != match[0].replace("_", " ")
    return f'<span title="{match[0]}">{words}</span>' if listed else match[0]


def heading(page: Any) -> Html:
    """Return the line below a page's title: SIMULATED where it applies, profile and as-of.

    Parameters
    ----------
    page : RunContext
        With ``profile``, ``as_of``, ``simulated`` (the stamp of the store), ``site_name``.
    """
    local = page.as_of.astimezone(display_zone())
    when = f"{local:%A %-d %B %Y, %H:%M} in {page.site_name} ({page.as_of:%Y-%m-%d %H:%MZ})"
    badge = f"<span>{_SIMULATED} · </span>" if page.simulated else ""
    profile = f"profile <code>{escape(page.profile)}</code>"
    html = f'<div class="heading">{badge}{profile} · as of {escape(when)}</div>'
    mark = "SIMULATED · " if page.simulated else ""
    text = f"{mark}profile {page.profile}, as of {when}"
    return Html(html, text=text, metrics={"simulated": page.simulated})


def summary(result: JobResult) -> Html:
    """Return the summary line; its status and metrics go into the run's record."""
    colour = variable(LEVEL[result.status])
    html = (
        f'<div class="summary" style="border-left:4px solid {colour};padding:.4em 1em;'
        f'margin:.8em 0">{prose(result.summary)}</div>'
    )
    metrics = {"summary": result.summary, "level": result.status, **result.metrics}
    return Html(html, text=f"[{result.status}] {result.summary}", metrics=metrics)


def notes(lines: Iterable[str]) -> Html:
    """Return remarks as a list; nothing where there are none."""
    remarks = list(lines)
    items = "".join(f"<li>{prose(line)}</li>" for line in remarks)
    text = "\n".join(f"- {line}" for line in remarks)
    return Html(f"<ul>{items}</ul>" if items else "", text=text)


def file_links(page: Any, paths: Iterable[str]) -> Html:
    """Return files as links that lead there from the folder of a run.

    Parameters
    ----------
    page : RunContext
        With ``settings``.
    """
    folder = page.settings.paths.runs / "day" / "run"
    links = (
        f'<a href="{escape(os.path.relpath(path, folder))}">{escape(Path(path).name)}</a>'
        for path in paths
    )
    return Html(f"<p>{' · '.join(links)}</p>", text="\n".join(paths))
