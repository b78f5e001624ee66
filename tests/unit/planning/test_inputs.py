"""Inputs of a plan: published, forecast or earlier prices, outdoor air, metered load."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.context import RunContext
from factory_lib.models.history import load_history, published_slots
from factory_lib.planning import inputs
from tests.support.stored import store_observed
from tests.support.week import EVENING, NOON


def at(ctx: RunContext, instant: datetime) -> RunContext:
    return replace(ctx, as_of=instant)


def test_what_is_not_published_is_the_same_local_hour_a_week_earlier(works):
    begin, end = NOON + timedelta(hours=2), datetime(2025, 11, 20, 23, tzinfo=UTC)
    frame = inputs.prices(works, begin, end)
    unpublished = frame[frame["known"] == inputs.WEEK_EARLIER]
    assert list(frame.loc[begin:, "known"].unique()) == [inputs.PUBLISHED, inputs.WEEK_EARLIER]
    assert len(unpublished) == 96
    earlier = frame["p50"].reindex(unpublished.index - timedelta(days=7)).to_numpy()
    np.testing.assert_allclose(unpublished["p50"], earlier)
    later = inputs.prices(at(works, EVENING), begin, end)
    assert set(later["known"]) == {inputs.PUBLISHED}


def test_hours_where_quarters_are_due_are_published_prices(works):
    begin, end = (datetime(2025, 11, day, 23, tzinfo=UTC) for day in (23, 24))  # not stored
    lacking = inputs.quarters(begin, end)
    prices = np.arange(24) + 60.0
    store_observed(
        works, "spot_eur_mwh", lacking[::4], prices, place="ES", source="ree", at=works.as_of
    )
    morning, evening = (at(works, begin - timedelta(hours=hours)) for hours in (12, 9))
    before = inputs.prices(morning, begin, end)
    assert set(before.loc[lacking, "known"]) == {inputs.WEEK_EARLIER}
    frame = inputs.prices(evening, begin, end).loc[lacking]
    assert set(frame["known"]) == {inputs.PUBLISHED}
    assert frame["p50"].tolist() == np.repeat(prices, 4).tolist()
    slots = published_slots(evening, load_history(evening, 10))
    assert slots[lacking].tolist() == frame["p50"].tolist()
    before = published_slots(morning, load_history(morning, 10))
    pd.testing.assert_series_equal(slots[slots.index < begin][-96:], before[-96:])


def test_the_whole_price_is_market_toll_and_tax(works):
    frame = inputs.prices(works, NOON, NOON + timedelta(hours=12)).loc[NOON:]
    tax = 1 + works.settings.contract.electricity_tax_pct / 100
    parts = frame["market_eur_mwh"] + frame["toll_eur_mwh"] + frame["other_eur_mwh"]
    np.testing.assert_allclose(frame["price_eur_mwh"], parts * tax)
    assert frame.groupby("period", observed=True)["toll_eur_mwh"].nunique().max() == 1


def test_the_air_ahead_is_forecast_else_that_of_the_season(works):
    begin, end = datetime(2025, 11, 20, 6, tzinfo=UTC), datetime(2025, 11, 20, 12, tzinfo=UTC)
    hours = pd.date_range(begin, end, freq="h", inclusive="left", unit="s")
    air = inputs.weather(works, begin, end)
    assert set(air["weather_source"]) == {"climatology"}
    assert air.notna().all(axis=None)
    for name, value in (("temperature_c", 31.0), ("humidity_pct", 20.0)):
        rows = {
            "series": name,
            "place": "38.151,-3.629",
            "model": "open_meteo",
            "tier": "",
            "resolution_s": 3600,
            "issued_at": pd.Timestamp(works.as_of).as_unit("s"),
            "target_start": hours,
            "p10": np.nan,
            "p50": value,
            "p90": np.nan,
        }
        works.store.write_forecasts(pd.DataFrame(rows), run_id="test")
    air = inputs.weather(works, begin, end)
    assert set(air["weather_source"]) == {"forecast"}
    assert set(air["temperature_c"]) == {31.0}


def test_the_load_so_far_is_metered_where_it_is_and_planned_where_not(works):
    begin = datetime(2025, 11, 18, 0, tzinfo=UTC)
    end = begin + timedelta(hours=6)
    stages = pd.DataFrame(
        {"start": [pd.Timestamp(begin)], "end": [pd.Timestamp(end)], "kw": [40.0]}
    )
    index = inputs.quarters(begin, end)
    planned = inputs.load_kw(works, stages, index)
    always = inputs.load_kw(works, stages.iloc[:0], index)
    np.testing.assert_allclose(planned - always, 40.0)


def test_an_hour_metered_as_a_whole_is_spread_over_its_quarters(works):
    begin = datetime(2025, 11, 18, 0, tzinfo=UTC)
    index = inputs.quarters(begin, begin + timedelta(hours=2))
    for name, starts, kwh, step in (
        ("metered_hour_kwh", index[:1], [40.0], 3600),
        ("metered_quarter_kwh", index[1:5], [20.0, 20.0, 20.0, 25.0], 900),
    ):
        store_observed(
            works, name, starts, kwh, place="site", source="meter_file", at=works.as_of, step_s=step
        )
    kw = inputs.metered_kw(works, index)
    assert kw[:5].tolist() == [40.0, 80.0, 80.0, 80.0, 100.0]
    assert kw[5:].isna().all()
