"""The client of one provider.

It splits a window into what one request each can answer, and returns rows inside it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import groupby, pairwise

import pandas as pd

from factory_lib import frames, sources
from factory_lib.catalogue import Kind
from factory_lib.clock import (
    MADRID,
    Clock,
)
from factory_lib.errors import BadInput, NoDataYet, SourceError
from factory_lib.http import Http
from factory_lib.settings import Settings
from factory_lib.sources.parsing import (
    MARKET_AREA,
    Parsed,
    Rejected,
    forecast_rows,
    reject_outside,
)
from factory_lib.state import State

Interval = tuple[datetime, datetime]


class Source(ABC):
    """One provider.

    Attributes
    ----------
    kind : Kind
        How its values came to be.
    since : datetime
        It has nothing older.
    zone : tzinfo
        Whose days its range limit counts.
    place_pattern : str
        The places it can answer for.
    forecast_model : str
        Whose forecasts it gives; by default its own.
    rejected : list of Rejected
        What was read and not stored since the client was opened.
    """

    kind = Kind.OBSERVED
    since = datetime(1970, 1, 1, tzinfo=UTC)
    zone: tzinfo = UTC
    place_pattern = re.escape(MARKET_AREA)
    forecast_model = ""

    def __init__(self, name: str, settings: Settings, state: State, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self.catalogue = settings.catalogue
        self.clock = clock
        self.limits = settings.sources[name]
        self.http = Http(name, settings, state, clock)
        self.serves = sources.SOURCES[name].served(settings)
        self.rejected: list[Rejected] = []

    @classmethod
    def places_of(cls, settings: Settings) -> tuple[str, ...]:
        """Return the site's places that this provider can answer for, most trusted first."""
        site = settings.site.places
        every = dict.fromkeys((*site.prices, *site.weather, *site.climate))
        return tuple(place for place in every if re.fullmatch(cls.place_pattern, place))

    def places(self) -> tuple[str, ...]:
        """Return :meth:`places_of` the client's own settings."""
        return self.places_of(self.settings)

    def available_window(self, series: str) -> Interval:
        """Return the window (UTC) that can hold values of ``series`` now."""
        entry = self.catalogue[series]
        kind = Kind.FORECAST if entry.forecast_of else self.kind
        known_until = entry.publication[kind].known_until
        return max(self.since, entry.since), known_until(self.clock.now())

    def present(self) -> datetime:
        """Return now, or when the provider made its last answer, where that is earlier.

        An answer holds no observation of later than it was made, however far ahead our
        clock is.
        """
        return min(self.clock.now(), self.http.made_at or self.clock.now())

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Interval]:
        """Split a half-open window into the fewest that one request each can answer."""
        return split_days(start, end, self.limits.max_range_days, self.zone)

    def fetch(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> pd.DataFrame:
        """Fetch several series of one place.

        Returns
        -------
        DataFrame
            Tidy rows that start inside [start, end).

        Raises
        ------
        BadInput
            If it does not serve one of the series.
        NoDataYet
            If the provider has nothing for the whole window.
        SourceError
            If a request fails otherwise; fetch window by window to keep earlier ones.
        """
        parts: list[pd.DataFrame] = []
        reasons: list[str] = []
        for names in self._by_measurement(series):
            for first, last in self.windows(start, end, names):
                try:
                    rows = self._checked(self.fetch_window, names, place, first, last).rows
                except NoDataYet as nothing:
                    reasons.append(nothing.detail)
                    continue
                inside = (rows["start"] >= max(start, first)) & (rows["start"] < min(end, last))
                parts.append(rows[inside & rows["series"].isin(names)])
        rows = frames.concat(parts)
        if rows.empty:
            reasons.append(f"no usable value ({len(self.rejected)} rejected)")
            window = f"{start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
            raise NoDataYet(self.name, f"{', '.join(series)} {window}: {reasons[0]}")
        return rows.reset_index(drop=True)

    @abstractmethod
    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch one of ``windows``; the answer may hold more than the window."""

    def forecast(self, series: Sequence[str], place: str) -> pd.DataFrame:
        """Return the provider's forecast of a place as forecast rows.

        Returns
        -------
        DataFrame
            ``frames.FORECAST_COLUMNS``, of slots still to come.

        Raises
        ------
        BadInput
            If it has no such forecast; see ``sources.SOURCES[name].forecasts``.
        """
        if unserved := set(series) - set(sources.SOURCES[self.name].forecasts):
            raise BadInput(f"{self.name} has no forecast of {', '.join(sorted(unserved))}.")
        parsed = self._checked(self.fetch_forecast, series, place)
        now = self.present()
        return forecast_rows(
            parsed.rows,
            model=self.forecast_model or self.name,
            issued_at=min(parsed.issued_at or now, now),
        )

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the forecast."""
        raise NotImplementedError

    def check_key(self) -> tuple[str, str]:
        """Send the cheapest request that proves the keys; return finding and next step, if any.

        Raises
        ------
        AuthError
            If they are refused.
        SourceError
            If the provider could not be asked.
        """
        raise NotImplementedError

    def joined(self, series: Sequence[str], fetch: Callable[[str], Parsed]) -> Parsed:
        """Join what there is of each series; if there is nothing, the first one's error stands."""
        parsed: list[Parsed] = []
        missing: list[NoDataYet] = []
        for name in series:
            try:
                parsed.append(fetch(name))
            except NoDataYet as nothing:
                missing.append(nothing)
        if not parsed:
            raise missing[0]
        return sum(parsed[1:], start=parsed[0])

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def _checked(self, request: Callable[..., Parsed], *arguments: object) -> Parsed:
        """Return an answer's plausible rows; keep the rejected ones, secrets masked.

        They were seen when the answer was made, where our clock is ahead of it.
        """
        try:
            parsed = reject_outside(request(*arguments), self.catalogue)
        except SourceError as error:
            raise self.http.masked(error) from None
        made_at = pd.Timestamp(self.present())
        seen_at = parsed.rows["retrieved_at"]
        if (seen_at > made_at).any():
            seen_at = seen_at.mask(seen_at > made_at, made_at).astype(frames.UTC_S)
            parsed = replace(parsed, rows=parsed.rows.assign(retrieved_at=seen_at))
        mask = self.http.mask
        self.rejected += [
            Rejected(mask(row.text)[:200], mask(row.reason)[:200]) for row in parsed.rejected
        ]
        return parsed

    def _by_measurement(self, series: Sequence[str]) -> list[tuple[str, ...]]:
        """Group the series by measurement: one request can answer for them together."""
        if unserved := [name for name in series if name not in self.serves]:
            raise BadInput(f"{self.name} does not serve {', '.join(unserved)}.")
        measurement = {name: self.catalogue[name].measurement for name in series}
        ordered = sorted(series, key=measurement.__getitem__)
        return [tuple(group) for _, group in groupby(ordered, key=measurement.__getitem__)]


class PriceSource(Source):
    """A provider of prices by market day."""

    zone = MADRID


class PointSource(Source):
    """A provider that answers for any point, named ``latitude,longitude``."""

    place_pattern = r"-?\d+(\.\d+)?,-?\d+(\.\d+)?"

    @classmethod
    def places_of(cls, settings: Settings) -> tuple[str, ...]:
        """Return the site's grid points, the site itself if none is named."""
        return super().places_of(settings) or (settings.site.grid_place,)


def split_days(start: datetime, end: datetime, days: int, zone: tzinfo) -> list[Interval]:
    """Split [start, end) so that each part touches at most ``days`` days of ``zone``."""
    edges = [start]
    while edges[-1] < end:
        day = edges[-1].astimezone(zone).date() + timedelta(days=days)
        edges.append(min(end, datetime.combine(day, time(), zone).astimezone(UTC)))
    return list(pairwise(edges))
