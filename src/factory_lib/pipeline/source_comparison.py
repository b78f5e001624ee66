"""Weather from several providers: who is asked first, who is believed, and how far they are apart.

One value per hour is shown, by order of trust: kind, then place, then source (the
catalogue's order). All providers with a key are asked, side by side, and everything
they give is stored; the hour only decides who is asked first.
"""

from __future__ import annotations

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
NIGHT_FIRST, DAY_FIRST = ("aemet", "openweathermap"), ("openweathermap", "aemet")


def ask_order(sources: Sequence[str], now: datetime) -> list[str]:
    """Return the sources, the one whose hours it is first."""
    first = NIGHT_FIRST if now.astimezone(MADRID).hour < DAY_BEGINS else DAY_FIRST
    return sorted(sources, key=lambda name: first.index(name) if name in first else len(first))


def compare(rows: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """Hold each source against the most trusted one that has the same hours.

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
        entry = catalogue[str(name)]
        table = part.pivot(index="start", columns=["source", "place"], values="value")
        trusted = sorted(table.columns, key=lambda door: trust(entry, door[0]))
        for at, door in enumerate(trusted):
            apart = [(other, (table[door] - table[other]).dropna()) for other in trusted[:at]]
            reference, error = next(
                ((o, e) for o, e in apart if len(e)), (None, pd.Series(dtype="float64"))
            )
            if reference is not None:
                lines.append(
                    [
                        name,
                        *door,
                        reference[0],
                        len(error),
                        error.mean(),
                        error.abs().mean(),
                        entry.unit,
                    ]
                )
    return pd.DataFrame(lines, columns=COMPARISON_COLUMNS)


def side_by_side(ctx: RunContext, days: int = COMPARE_DAYS) -> pd.DataFrame:
    """Compare the weather sources over the last days; the archive is days behind, so most of it is not in it."""
    entries = ctx.catalogue.of(Measurement.WEATHER)
    names = [entry.name for entry in entries]
    places = places_of(ctx.settings, entries[0])
    start = ctx.as_of - timedelta(days=days)
    rows = ctx.store.read(
        names, places=places, start=start, end=ctx.as_of, as_of=ctx.as_of, raw=True
    )
    return compare(rows, ctx.catalogue)
