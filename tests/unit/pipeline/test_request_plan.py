from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import MADRID, day_start, epoch, market_day
from factory_lib.context import RunContext
from factory_lib.pipeline.fetch import cover, plan_requests, request_order
from factory_lib.pipeline.targets import SourcePlace, Target, clients, targets
from factory_lib.slots import expected
from factory_lib.sources.base import split_days

T0 = datetime(2023, 3, 1, tzinfo=UTC)


def fewest(days: list[int], reach: int) -> int:
    """Return the smallest number of stretches of ``reach`` days that hold all ``days``."""
    best = {len(days): 0}
    for first in range(len(days) - 1, -1, -1):
        # The stretch that holds this day may begin on any of the days before it.
        ends = [
            next((i for i, day in enumerate(days) if day >= begin + reach), len(days))
            for begin in range(days[first] - reach + 1, days[first] + 1)
        ]
        best[first] = 1 + min(best[max(end, first + 1)] for end in ends)
    return best[0]


@pytest.mark.parametrize("seed", range(50))
def test_requests_are_as_few_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = [
        T0 + timedelta(hours=int(h))
        for h in np.unique(rng.integers(0, 400 * 24, rng.integers(1, 40)))
    ]
    slots = np.array([epoch(start) for start in starts], dtype=np.int64)
    found = cover(slots, slots + 3600, lambda a, b: split_days(a, b, 28, MADRID))

    days = sorted({market_day(start).toordinal() for start in starts})
    assert len(found) == fewest(days, 28)
    assert all(any(a <= start < b for a, b in found) for start in starts)
    assert all(
        market_day(b - timedelta(seconds=1)).toordinal() - market_day(a).toordinal() < 28
        for a, b in found
    )


def slots_of(
    target: Target, at: SourcePlace, starts: np.ndarray, severity: int = 0
) -> pd.DataFrame:
    """Return rows for the plan: hours that one source is to give."""
    return pd.DataFrame(
        {
            "series": target.name,
            "measurement": target.series.measurement,
            **at._asdict(),
            "start": starts,
            "end": starts + 3600,
            "severity": severity,
        }
    )


def test_three_years_of_prices_take_forty_requests(ctx: RunContext) -> None:
    start, end = day_start(date(2022, 1, 1)), day_start(date(2025, 1, 1))
    rows = [
        slots_of(target, SourcePlace("ree", "ES"), expected(target.series, start, end))
        for target in targets(ctx, ["spot_eur_mwh", "pvpc_eur_mwh"])
    ]
    with clients(ctx.settings, ctx.state, ctx.clock, ["ree"]) as opened:
        planned = plan_requests(pd.concat(rows), opened)
    assert len(planned) == 40
    assert {item.request.series for item in planned} == {("spot_eur_mwh", "pvpc_eur_mwh")}


def test_a_year_of_weather_takes_one_request(ctx: RunContext) -> None:
    names = ["temperature_c", "humidity_pct", "wind_speed_ms"]
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    at = SourcePlace("open_meteo", ctx.settings.site.grid_place)
    rows = [
        slots_of(target, at, expected(target.series, start, end)) for target in targets(ctx, names)
    ]
    with clients(ctx.settings, ctx.state, ctx.clock, ["open_meteo"]) as opened:
        (item,) = plan_requests(pd.concat(rows), opened)
    assert (item.request.start, item.request.end, item.slots) == (start, end, 3 * 366 * 24)
    assert item.request.series == tuple(names)


def test_the_most_severe_is_requested_first_and_then_the_youngest(ctx: RunContext) -> None:
    (target,) = targets(ctx, ["spot_eur_mwh"])
    starts = np.array([epoch(T0 + timedelta(days=d)) for d in (0, 100, 200)], dtype=np.int64)
    rows = slots_of(target, SourcePlace("ree", "ES"), starts).assign(severity=[1, 2, 1])
    with clients(ctx.settings, ctx.state, ctx.clock, ["ree"]) as opened:
        planned = plan_requests(rows, opened)
    assert [epoch(item.request.start) for item in planned] == starts[[1, 2, 0]].tolist()


def test_a_source_of_weeks_is_requested_before_one_of_single_days(ctx: RunContext) -> None:
    (target,) = targets(ctx, ["spot_eur_mwh"])
    assert target.source_places[0].source == "omie"  # the most trusted
    assert request_order(target)[0].source == "ree"
