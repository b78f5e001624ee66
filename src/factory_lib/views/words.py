"""Words, numbers and times of the live page in one language."""

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from factory_lib.clock import day_start, display_zone, local_day

Language = Literal["es", "en"]
NB = "\N{NO-BREAK SPACE}"
JOINER = "\N{WORD JOINER}"  # no line breaks there
MINUS = "\N{MINUS SIGN}"
_FILE = Path(__file__).with_name("templates") / "live.toml"


@cache
def _table(language: Language) -> dict[str, Any]:
    return dict(tomllib.loads(_FILE.read_text(encoding="utf-8"))[language])


class Words:
    """The texts of ``live.toml`` and the ways of writing numbers and local times."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._table = _table(language)

    def __call__(self, key: str, /, **values: Any) -> str:
        """Return a text with its values put in; that of one (``n``) where there is another."""
        one = f"{key}_one" if values.get("n") in (1, "1") else key
        return str(self._table.get(one, self._table[key])).format(**values)

    def name(self, key: object) -> str:
        """Return a thing's name in words, or the name itself where there are none."""
        text = str(key)  # a file that a person changed may hold a number
        return str(self._table["names"].get(text, text.replace("_", " ")))

    def alert(self, topic: str, entity: str) -> str:
        """Return an alert as a short sentence; the entity of a plan's is a day and a kind."""
        day, _, kind = entity.partition(" ")
        if topic == "plan" and kind:
            at = day_start(date.fromisoformat(day), display_zone())
            return self("alert_day", what=self.name(kind), day=self.weekday(at))
        return self(f"alert_{topic}", what=self.name(entity))

    def summary(self, job: str, metrics: Mapping[str, Any]) -> str:
        """Return the summary of a run, composed from its metrics where the run's own is foreign.

        Nothing where the metrics do not suffice.
        """
        numbers = {key: _Number(self, value) for key, value in metrics.items()}
        try:
            return str(self._table["summaries"][job]).format(**numbers)
        except (KeyError, TypeError, ValueError):
            return ""

    def number(self, value: float | None, decimals: int = 0) -> str:
        """Return a number with the language's separators; a dash where it is not known."""
        if value is None or not isfinite(value):
            return "–"
        text = f"{value:,.{decimals}f}"
        if self.language == "es":
            text = text.translate(str.maketrans(",.", ".,"))
        negative = text.startswith("-") and any(digit in text for digit in "123456789")
        return MINUS + text[1:] if negative else text.removeprefix("-")

    def with_unit(self, value: float | None, unit: str, decimals: int = 0) -> str:
        """Return a number and its unit, which no line break parts."""
        return f"{self.number(value, decimals)}{NB}{unit}"

    def euros(self, value: float | None) -> str:
        """Return whole euros; below 10 with one decimal."""
        small = value is not None and 0.05 <= abs(value) < 9.95
        return self.with_unit(value, "€", int(small))

    def percent(self, share: float | None) -> str:
        """Return a share as percent: never 100 where something is missing."""
        if share is None or not isfinite(share):
            return "–"
        fine = share > 0.99 or 0 < share < 0.1
        value = min(100 * share, 99.9) if share < 1 else 100.0
        return self.with_unit(value, "%", int(fine and share < 1))

    def hours(self, hours: float) -> str:
        """Return a duration: hours, from two days on days in halves."""
        if hours < 1:
            return self.with_unit(60 * hours, "min")
        if hours < 48:
            return self.with_unit(hours, "h")
        days = round(hours / 12) / 2
        return f"{self.number(days // 1)}{'½' if days % 1 else ''}{NB}{self('days')}"

    def weekday(self, at: datetime) -> str:
        """Return day of the week and of the month, local: ``Thu 20``."""
        local = at.astimezone(display_zone())
        return f"{self._table['weekdays'][local.weekday()][:3].capitalize()}{NB}{local.day}"

    def clock(self, at: datetime) -> str:
        """Return the local time of day."""
        return f"{at.astimezone(display_zone()):%H:%M}"

    def when(self, at: datetime, now: datetime | None = None) -> str:
        """Return weekday and time, local; the time alone where it is today."""
        zone = display_zone()
        if now is not None and local_day(at, zone) == local_day(now, zone):
            return self.clock(at)
        return f"{self.weekday(at)}{NB}{self.clock(at)}"

    def whens(self, index: pd.DatetimeIndex) -> list[str]:
        """Return ``when`` of many instants."""
        names = [f"{name[:3].capitalize()}{NB}" for name in self._table["weekdays"]]
        local = index.tz_convert(display_zone()).to_pydatetime()
        return [f"{names[at.weekday()]}{at.day}{NB}{at:%H:%M}" for at in local]

    def date(self, at: datetime) -> str:
        """Return a local day in full."""
        local = at.astimezone(display_zone())
        weekday = self._table["weekdays"][local.weekday()]
        month = self._table["months"][local.month - 1]
        words = self("date", weekday=weekday, day=local.day, month=month)
        return words[0].upper() + words[1:]

    def dated(self, at: datetime) -> str:
        """Return day, month and time, local: ``20 Nov 11:05``."""
        local = at.astimezone(display_zone())
        return f"{local.day}{NB}{self.month_name(local.month)[:3]}{NB}{local:%H:%M}"

    def coming(self, at: datetime, now: datetime) -> str:
        """Return when something comes, as words within a sentence."""
        days = (local_day(at, display_zone()) - local_day(now, display_zone())).days
        key = {0: "at_today", 1: "at_tomorrow"}.get(days, "at_day")
        return self(key, day=self.weekday(at), time=self.clock(at))

    def until(self, end: datetime) -> str:
        """Return the end of a stretch; midnight ends the day before, as 24:00."""
        local = end.astimezone(display_zone())
        if local.hour or local.minute:
            return self.when(end)
        return f"{self.weekday(end - timedelta(minutes=1))}{NB}24:00"

    def span(self, start: datetime, end: datetime) -> str:
        """Return a stretch of one day as ``12:30–16:30``."""
        last = self.until(end).rpartition(NB)[2]
        return f"{self.clock(start)}–{JOINER}{last}"

    def month(self, at: datetime) -> str:
        """Return the local month."""
        return self.month_name(at.astimezone(display_zone()).month)

    def month_name(self, number: int) -> str:
        """Return a month, 1 to 12."""
        return str(self._table["months"][number - 1])


class _Number:
    """A metric that is written as a number of the language, with ``%`` as percent."""

    def __init__(self, words: Words, value: Any) -> None:
        self.words = words
        self.value = value

    def __format__(self, spec: str) -> str:
        if spec == "%":
            return self.words.percent(self.value)
        return self.words.number(self.value, int(spec or 0))


def text(value: Any) -> str:
    """Return a value as HTML text."""
    return escape("" if value is None or value is pd.NaT else str(value))
