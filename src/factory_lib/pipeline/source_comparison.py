"""Weather from several providers: the order of their requests, and how far they are apart.

One value per hour is shown, by order of trust: kind, then place, then source (the
catalogue's order). All providers with a key are requested, side by side, and everything
they give is stored; the hour only decides which request comes first.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import MADRID
from factory_lib.context import RunContext
from factory_lib.pipeline.targets import places_of, trust

COMPARE_DAYS = 7
COMPARISON_COLUMNS = ["series", "source", "place", "reference", "hours", "bias", "mae", "unit"]
# AEMET's observations by night, OpenWeatherMap's by day, local hours: until 8, and from
# 8 on.
DAY_BEGINS = 8
NIGHT_FIRST = ("aemet", "openweathermap")
DAY_FIRST = ("openweathermap", "aemet")


def order_by_hour(sources: Sequence[str], now: datetime) -> list[str]:
    """Return the sources, the preferred one of the local hour first."""
    first = NIGHT_FIRST if now.astimezone(MADRID).hour < DAY_BEGINS else DAY_FIRST
    return sorted(sources, key=lambda name: first.index(name) if name in first else len(first))


def compare_sources(rows: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """Compare each source with the most trusted one that has the same hours.

    Parameters
    ----------
    rows : DataFrame
        Stored rows of all sources and places (``VIEW_COLUMNS``, raw).

    Returns
    -------
    DataFrame
        ``COMPARISON_COLUMNS``; ``bias`` is source minus reference, in ``unit``.
    """
    latest = rows.sort_values("rev").drop_duplicates(
        ["series", "place", "source", "start"], keep="last"
    )
    lines = []
    for name, part in latest.groupby("series"):
        series = catalogue[str(name)]
        table = part.pivot(index="start", columns=["source", "place"], values="value")
        trusted = sorted(table.columns, key=lambda at: trust(series, at[0]))
        for position, at in enumerate(trusted):
            for reference in trusted[:position]:
                error = (table[at] - table[reference]).dropna()
                if len(error):
                    lines.append(
                        [
                            name,
                            *at,
                            reference[0],
                            len(error),
                            error.mean(),
                            error.abs().mean(),
                            series.unit,
                        ]
                    )
                    break
    return pd.DataFrame(lines, columns=COMPARISON_COLUMNS)


def compare_weather(ctx: RunContext, days: int = COMPARE_DAYS) -> pd.DataFrame:
    """Compare the weather sources over the last days; the archive has few of them."""
    entries = ctx.catalogue.of(Measurement.WEATHER)
    names = [entry.name for entry in entries]
    places = places_of(ctx.settings, entries[0])
    start = ctx.as_of - timedelta(days=days)
    rows = ctx.store.read(
        names, places=places, start=start, end=ctx.as_of, as_of=ctx.as_of, raw=True
    )
    return compare_sources(rows, ctx.catalogue)
