"""The series that this site should have, at which places, and which sources serve them there."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from factory_lib import sources
from factory_lib.catalogue import Measurement, Series
from factory_lib.clock import Clock
from factory_lib.context import RunContext
from factory_lib.frames import empty_tidy
from factory_lib.settings import Settings
from factory_lib.sources.base import Source
from factory_lib.state import State


class SourcePlace(NamedTuple):
    """One place of one source: the address of a request."""

    source: str
    place: str


@dataclass(frozen=True)
class Target:
    """One series at the site's places, taken together: a value of any of them fills a slot.

    Attributes
    ----------
    places : tuple of str
        Most trusted first.
    source_places : tuple of SourcePlace
        Addresses that serve it, in the catalogue's order of trust and then that of the
        places; none where the series is only imported.
    """

    series: Series
    places: tuple[str, ...]
    source_places: tuple[SourcePlace, ...]

    @property
    def name(self) -> str:
        """The series' name."""
        return self.series.name

    @property
    def place(self) -> str:
        """The places as one text, for tables."""
        return " / ".join(self.places)


def places_of(settings: Settings, series: Series) -> tuple[str, ...]:
    """Return the places of ``series``: its own area, or the site's, most trusted first."""
    return (series.area,) if series.area else settings.site.places.of(series.measurement)


def is_own(settings: Settings, series: Series) -> bool:
    """Return whether a series is this site's to fetch; the market's are one site's."""
    return settings.has_market or not (series.area or series.measurement is Measurement.PRICES)


def is_offered(settings: Settings, series: Series) -> bool:
    """Return whether a series is this site's and any provider has it at one of its places."""
    places = set(places_of(settings, series))
    return is_own(settings, series) and any(
        series.name in spec.serves
        and places.intersection(sources.source_class(name).places_of(settings))
        for name, spec in sources.SOURCES.items()
    )


def trust(series: Series, source: str) -> int:
    """Return the source's position in the series' order of trust, 0 first, unlisted ones last."""
    return series.sources.index(source) if source in series.sources else len(series.sources)


@contextmanager
def clients(
    settings: Settings, state: State, clock: Clock, names: Iterable[str]
) -> Iterator[dict[str, Source]]:
    """Open the clients of the named sources and close them again."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(closing(sources.open_source(name, settings, state, clock)))
            for name in names
        }


def read_rows(
    ctx: RunContext,
    names: Iterable[str],
    start: datetime,
    end: datetime,
    *,
    as_of: datetime | None = None,
    raw: bool = True,
) -> pd.DataFrame:
    """Return the stored rows of series at the site's places, with one query per measurement."""
    by_places: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        by_places.setdefault(places_of(ctx.settings, ctx.catalogue[name]), []).append(name)
    tables = [
        ctx.store.read(together, places=places, start=start, end=end, as_of=as_of, raw=raw)
        for places, together in by_places.items()
    ]
    return pd.concat(tables) if tables else empty_tidy()


def targets(ctx: RunContext, names: Iterable[str] | None = None) -> tuple[Target, ...]:
    """Return every series that is expected (or those named) with the configured sources of it."""
    if names is None:
        own = ctx.settings.series
        series = [
            entry
            for entry in ctx.catalogue.values()
            if (entry.measurement is not Measurement.PLANT or entry.name in own)
            and is_own(ctx.settings, entry)
        ]
    else:
        series = [ctx.catalogue[name] for name in dict.fromkeys(names)]
    with clients(ctx.settings, ctx.state, ctx.clock, sources.configured(ctx.settings)) as opened:
        return tuple(_target(ctx.settings, entry, opened) for entry in series)


def _target(settings: Settings, series: Series, opened: Mapping[str, Source]) -> Target:
    places = places_of(settings, series)
    served = {
        name: client.places() for name, client in opened.items() if series.name in client.serves
    }
    source_places = (
        SourcePlace(name, place)
        for name in series.sources
        for place in places
        if place in served.get(name, ())
    )
    return Target(series, places, tuple(source_places))
