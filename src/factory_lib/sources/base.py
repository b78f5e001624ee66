"""What every client is: windows a provider can answer, one request each, rows inside what was asked for."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import groupby, pairwise

import pandas as pd

from factory_lib import frames, sources
from factory_lib.catalogue import Kind
from factory_lib.clock import Clock, day_start, market_day
from factory_lib.errors import BadInput, NoDataYet, SourceError
from factory_lib.http import Http
from factory_lib.settings import Settings
from factory_lib.sources.parsing import Parsed, Rejected, reject_outside
from factory_lib.state import State

Window = tuple[datetime, datetime]
MARKET_AREA = "ES"


class Source(ABC):
    """One provider.

    Attributes
    ----------
    kind : Kind
        How its values came to be.
    rejected : list of Rejected
        What was read and not believed since the client was opened.
    """

    kind = Kind.OBSERVED
    place_pattern = re.escape(MARKET_AREA)

    def __init__(self, name: str, settings: Settings, state: State, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self.catalogue = settings.catalogue
        self.clock = clock
        self.limits = settings.sources[name]
        self.http = Http(name, settings, state, clock)
        self.serves = sources.SOURCES[name].served(settings)
        self.rejected: list[Rejected] = []

    def places(self) -> tuple[str, ...]:
        """Return the site's places that this provider can answer for, most trusted first."""
        site = self.settings.site.places
        every = dict.fromkeys((*site.prices, *site.weather, *site.climate))
        return tuple(place for place in every if re.fullmatch(self.place_pattern, place))

    def reach(self, series: str) -> Window:
        """Return the window (UTC) outside of which asking for ``series`` is useless now."""
        return datetime(1970, 1, 1, tzinfo=UTC), self.clock.now()

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Window]:
        """Split a half-open window into the fewest that one request each can answer."""
        return utc_days(start, end, self.limits.max_range_days)

    def fetch(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> pd.DataFrame:
        """Ask for several series of one place.

        Returns
        -------
        DataFrame
            Tidy rows that start inside [start, end).

        Raises
        ------
        NoDataYet
            If the provider has nothing for the whole window.
        SourceError
            If a request fails otherwise; ask window by window to keep what came before.
        """
        parts, reasons = [], []
        for wanted in self._together(series):
            for first, last in self.windows(start, end, wanted):
                try:
                    parsed = self._asked(wanted, place, first, last)
                except NoDataYet as nothing:
                    reasons.append(nothing.detail)
                    continue
                inside = (parsed.rows["start"] >= max(start, first)) & (
                    parsed.rows["start"] < min(end, last)
                )
                parts.append(parsed.rows[inside & parsed.rows["series"].isin(wanted)])
        rows = frames.concat(parts)
        if rows.empty:
            why = reasons[0] if reasons else f"no usable value ({len(self.rejected)} rejected)"
            raise NoDataYet(
                self.name,
                f"{', '.join(series)} {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}: {why}",
            )
        return rows.reset_index(drop=True)

    def forecast(self, series: Sequence[str], place: str | None = None) -> pd.DataFrame:
        """Return the provider's own forecast as forecast rows (``frames.FORECAST_COLUMNS``), for the site's place.

        Raises
        ------
        BadInput
            If it forecasts nothing; ``sources.SOURCES[name].forecasts`` says what it
            does.
        """
        raise BadInput(f"{self.name} has no forecast of {', '.join(series)}.")

    @abstractmethod
    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask once, for one of ``windows``; the answer may hold more than was asked for."""

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def _asked(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        try:
            parsed = reject_outside(self.ask(series, place, start, end), self.catalogue)
        except SourceError as error:
            raise self.http.masked(error) from None
        mask = self.http.mask
        self.rejected += [
            Rejected(mask(row.text)[:200], mask(row.reason)[:200], row.line)
            for row in parsed.rejected
        ]
        return parsed

    def _together(self, series: Sequence[str]) -> list[tuple[str, ...]]:
        """Group the series by measurement: what one request can answer together."""
        if unserved := [name for name in series if name not in self.serves]:
            raise BadInput(f"{self.name} does not serve {', '.join(unserved)}.")
        measurement = {name: self.catalogue[name].measurement for name in series}
        ordered = sorted(series, key=measurement.__getitem__)
        return [tuple(group) for _, group in groupby(ordered, key=measurement.__getitem__)]


class PriceSource(Source):
    """A provider of prices by market day.

    Attributes
    ----------
    since : datetime
        It has nothing older.
    """

    since = datetime(1970, 1, 1, tzinfo=UTC)

    def reach(self, series: str) -> Window:
        """Return from when on it has the series, and until when that can be published by now."""
        entry = self.catalogue[series]
        return max(self.since, entry.since), entry.publication[self.kind].known_until(
            self.clock.now()
        )

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Window]:
        """Split at the range limit, counted in market days."""
        return local_days(start, end, self.limits.max_range_days)


class PointSource(Source):
    """A provider that answers for any point, named ``latitude,longitude``."""

    place_pattern = r"-?\d+(\.\d+)?,-?\d+(\.\d+)?"

    def places(self) -> tuple[str, ...]:
        """Return the site's grid points, the site itself if none is named."""
        return super().places() or (self.settings.site.grid_place,)


def utc_days(start: datetime, end: datetime, days: int) -> list[Window]:
    """Split [start, end) so that each part touches at most ``days`` UTC days."""
    edges = [start]
    while edges[-1] < end:
        midnight = datetime.combine(edges[-1].astimezone(UTC).date(), time(), UTC)
        edges.append(min(end, midnight + timedelta(days=days)))
    return list(pairwise(edges))


def local_days(start: datetime, end: datetime, days: int) -> list[Window]:
    """Split [start, end) so that each part touches at most ``days`` market days."""
    edges = [start]
    while edges[-1] < end:
        edges.append(min(end, day_start(market_day(edges[-1]) + timedelta(days=days))))
    return list(pairwise(edges))
