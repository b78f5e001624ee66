"""``factory export``: one file for other programs, with units, provenance and origin.

Series come from the store as they are; the other views have a name of their own, with
series after it where they have some. Columns without a unit of their own carry it in
their name.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import market_day
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, FactoryError, UnknownSeries
from factory_lib.pipeline.gaps import analyse
from factory_lib.pipeline.targets import places_of
from factory_lib.planning import documents
from factory_lib.store.copying import export

LONGEST_PLAN = timedelta(days=7)


def export_view(
    ctx: RunContext, words: Sequence[str], out: Path, start: datetime, end: datetime
) -> int:
    """Write series, or the view that the first of ``words`` names, and return its rows."""
    view = VIEWS.get(words[0], _series)
    names = words[1:] if words[0] in VIEWS else words
    table = view(ctx, list(dict.fromkeys(names)), start, end)
    return export(table, out, ctx.store.origin, ctx.catalogue)


def export_all(ctx: RunContext, folder: Path, start: datetime, end: datetime) -> pd.DataFrame:
    """Write every stored series and every view of the window into a folder, a Parquet file each.

    Returns
    -------
    DataFrame
        ``file``, ``rows``, and ``problem``, where a view has nothing to show yet.
    """
    stored = sorted(set(ctx.store.inventory()["series"]) & set(ctx.catalogue))
    made: list[dict[str, Any]] = []
    for name in (*stored, *VIEWS):
        row: dict[str, Any] = {"file": folder / f"{name}.parquet", "rows": 0, "problem": ""}
        try:
            row["rows"] = export_view(ctx, [name], row["file"], start, end)
        except FactoryError as error:
            row["problem"] = str(error)
        made.append(row)
    return pd.DataFrame(made)


def _series(ctx: RunContext, names: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    as_of = ctx.as_of if ctx.explicit_as_of else None
    parts = [
        ctx.store.read(
            name,
            places=places_of(ctx.settings, ctx.catalogue[name]),
            start=start,
            end=end,
            as_of=as_of,
        )
        for name in names
    ]
    return pd.concat(parts, ignore_index=True)


def _accounting(
    ctx: RunContext, names: Sequence[str], start: datetime, end: datetime
) -> pd.DataFrame:
    return analyse(ctx, start, end, series=names or None).accounting.assign(
        as_of=pd.Timestamp(ctx.as_of)
    )


def _gaps(ctx: RunContext, names: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    return analyse(ctx, start, end, series=names or None).gaps.assign(as_of=pd.Timestamp(ctx.as_of))


def _forecasts(
    ctx: RunContext, names: Sequence[str], start: datetime, end: datetime
) -> pd.DataFrame:
    """Return every issue of ours and of the providers for targets in the window."""
    from factory_lib.models.prediction import SCORE_SERIES

    places = {name: places_of(ctx.settings, entry) for name, entry in ctx.catalogue.items()}
    places[SCORE_SERIES] = ctx.settings.site.places.weather
    if unknown := [name for name in names if name not in places]:
        raise UnknownSeries(unknown[0], list(places))
    read = ctx.store.read_forecasts
    parts = [
        read(name, places=places[name], start=start, end=end, as_of=ctx.as_of, latest=False)
        for name in names or places
    ]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def _features(
    ctx: RunContext, names: Sequence[str], start: datetime, end: datetime
) -> pd.DataFrame:
    """Return the documented features by hour, as they are now."""
    from factory_lib.models.history import build_feature_set

    made = build_feature_set(ctx, max(1, ceil((ctx.as_of - start).total_seconds() / 86_400)))
    if unknown := [name for name in names if name not in made.frame]:
        raise BadInput(
            f"There is no feature {unknown[0]!r}.",
            next_step=f"Known: {', '.join(map(str, made.frame))}.",
        )
    inside = made.frame[
        (made.frame.index >= pd.Timestamp(start)) & (made.frame.index < pd.Timestamp(end))
    ]
    return (
        inside[list(names or inside.columns)]
        .reset_index()
        .assign(feature_hash=made.hash, as_of=pd.Timestamp(ctx.as_of))
    )


def _plan(ctx: RunContext, names: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    """Return the stages of the window by the plans in force and the last plan."""
    if names:
        raise BadInput(
            f"A plan is written whole, {names[0]!r} names no part of it.", next_step="Leave it out."
        )
    plans, _ = documents.kept(ctx, market_day(start) - LONGEST_PLAN)
    if not plans:
        raise BadInput("There is no plan yet.", next_step="Make one with `factory plan`.")
    stages = documents.carried_out(plans, plans[-1].end)[documents.STAGE_COLUMNS]
    stages = stages.assign(made_at=pd.Timestamp(plans[-1].made_at))
    return stages[(stages["start"] >= pd.Timestamp(start)) & (stages["start"] < pd.Timestamp(end))]


View = Callable[[RunContext, Sequence[str], datetime, datetime], pd.DataFrame]
VIEWS: Mapping[str, View] = {
    "accounting": _accounting,
    "gaps": _gaps,
    "forecasts": _forecasts,
    "features": _features,
    "plan": _plan,
}
