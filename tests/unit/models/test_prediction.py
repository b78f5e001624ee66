"""The hours ahead, from a small store and the simulated world's shapes of data."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.catalogue import QUARTERS_SINCE
from factory_lib.clock import displayed_in
from factory_lib.context import RunContext, open_context
from factory_lib.domain.indices import CLASSES, PriceBand
from factory_lib.errors import BadInput
from factory_lib.features.days import DayMatrix, to_slots
from factory_lib.models import one_hour, prediction, price_forecast, summary
from factory_lib.models.forecasters import ForecasterConfig, PriceForecaster
from factory_lib.models.rule_forecast import band_departures
from factory_lib.models.weather_forecast import OWN, WeatherForecast
from factory_lib.planning import recommendation
from factory_lib.sources.parsing import RowCollector, forecast_rows
from factory_sim.clock import SimulatedClock
from factory_sim.world import World
from tests.support.stored import store_observed

# one worker builds what they share

NOW = datetime(2025, 6, 10, 10, tzinfo=UTC)  # before publication: tomorrow is unknown
INDEX = pd.date_range(NOW, periods=168, freq="h").as_unit("s")
BAND = PriceBand(0.04, 0.10)


def made_up_hours(days: int) -> pd.DataFrame:
    """Prices to the end of today and weather until an hour ago, with a daily shape and noise."""
    draw = np.random.default_rng(5)
    index = pd.date_range(
        NOW - timedelta(days=days), "2025-06-10T22:00Z", freq="h", inclusive="left"
    ).as_unit("s")
    phase = np.asarray(index.hour) / 24 * 2 * np.pi
    day = np.arange(len(index)) // 24
    level = np.cumsum(draw.normal(0, 3, day[-1] + 1))[day]
    return pd.DataFrame(
        {
            "spot_eur_mwh": 70 + level - 25 * np.cos(2 * phase) + draw.normal(0, 4, len(index)),
            "temperature_c": 20 - 6 * np.cos(phase) + draw.normal(0, 0.5, len(index)),
            "humidity_pct": 55 + 20 * np.cos(phase) + draw.normal(0, 4, len(index)),
        },
        index=index,
    )


@pytest.fixture
def lived_in(tmp_path: Path) -> Iterator[RunContext]:
    """A store with 120 days of hours, and a provider's forecasts three degrees too warm."""
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(tmp_path)})
    hours = made_up_hours(120)
    with open_context(
        settings=settings, as_of=NOW, clock=SimulatedClock(NOW), run_id="test"
    ) as ctx:
        for name, place, until in (
            ("spot_eur_mwh", "ES", None),
            ("temperature_c", "5279X", NOW),
            ("humidity_pct", "5279X", NOW),
        ):
            column = hours[name] if until is None else hours[name][hours.index < until]
            store_observed(ctx, name, column.index, column, place=place, source="ree", at=NOW)
        for back in range(14, -1, -1):
            issued = NOW - timedelta(days=back, hours=1)
            starts = pd.date_range(issued, periods=72, freq="h").as_unit("s")
            phase = np.asarray(starts.hour) / 24 * 2 * np.pi
            seconds = starts.asi8
            collector = RowCollector("open_meteo", ctx.settings.site.grid_place, "observed", issued)
            collector.add("temperature_c", seconds, 23 - 6 * np.cos(phase), 3600)
            collector.add("humidity_pct", seconds, 55 + 20 * np.cos(phase), 3600)
            rows = forecast_rows(collector.parsed().rows, model="open_meteo", issued_at=issued)
            ctx.store.write_forecasts(rows, run_id="test")
        yield ctx


def test_every_hour_has_a_price_a_class_and_says_where_they_come_from(lived_in: RunContext) -> None:
    outcome = prediction.predict(lived_in)
    hourly = outcome.hourly
    assert list(hourly.index) == list(INDEX)
    # Too short a history for the forecaster: published to the local midnight, naive
    # beyond, with a note.
    assert hourly["tier"].value_counts().to_dict() == {"naive": 156, "published": 12}
    result = summary.summarise_prediction(outcome, pd.DataFrame())
    assert any("naive forecast serves" in note for note in result.notes)
    assert (
        "Prices: published until Wed 11 Jun 00:00, then by the naive forecast "
        "(a published day or a mean of such) until "
        "Tue 17 Jun 12:00." in result.summary
    )
    assert result.status == "warn"
    assert (hourly["price_p10"] <= hourly["price_eur_mwh"]).all()
    assert (hourly["price_eur_mwh"] <= hourly["price_p90"]).all()
    assert hourly[[f"p_{name}" for name in CLASSES]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert result["blocks"]["hours"].sum() == len(hourly)


def test_the_providers_bias_is_taken_off_and_climatology_goes_on(lived_in: RunContext) -> None:
    hourly = prediction.predict(lived_in).hourly
    assert (hourly["weather_source"].iloc[:70] == "forecast").all()
    assert (hourly["weather_source"].iloc[72:] == "climatology").all()
    expected = 20 - 6 * np.cos(np.asarray(INDEX.hour) / 24 * 2 * np.pi)
    # Three degrees too warm, shrunk for the few days that can be compared; climatology
    # knows the hours themselves.
    assert abs(hourly["temperature_c"] - expected).iloc[:70].mean() < 1.2
    assert abs(hourly["temperature_c"] - expected).iloc[72:].mean() < 0.4


def test_a_second_run_writes_nothing_and_a_later_one_of_the_day_only_what_is_new(
    lived_in: RunContext,
) -> None:
    first = prediction.predict(lived_in)
    before = lived_in.store.inventory()
    second = prediction.predict(lived_in)
    assert first.stored == 156 + 3 * 168
    assert second.stored == 0
    assert lived_in.store.inventory().equals(before)
    later = prediction.predict(replace(lived_in, as_of=NOW + timedelta(hours=1)))
    assert 0 < later.stored < 156 + 3 * 168
    stored = lived_in.store.read_forecasts(
        "spot_eur_mwh",
        places=("ES",),
        start=NOW,
        end=NOW + timedelta(days=8),
        models=(OWN,),
        latest=False,
    )
    assert set(stored["tier"]) == {"naive"}
    assert (stored["target_start"] >= pd.Timestamp("2025-06-10T22:00Z")).all()
    assert (
        stored.groupby("target_start").size() == 1
    ).sum() >= 156  # an unchanged price is not issued twice


def test_verification_compares_the_forecasts_with_the_observations(lived_in: RunContext) -> None:
    yesterday = replace(lived_in, as_of=NOW - timedelta(days=1))
    prediction.predict(yesterday)
    table = prediction.predict(lived_in).verification
    own = table[table["model"] == OWN].set_index("series")
    assert own.loc["temperature_c", "slots"].max() > 0
    assert {"open_meteo", OWN} <= set(table["model"])


@pytest.mark.parametrize("days", [0, 8])
def test_more_than_a_week_is_refused(lived_in: RunContext, days: int) -> None:
    with pytest.raises(BadInput):
        prediction.predict(lived_in, days)


def test_an_empty_store_has_unavailable_prices(ctx: RunContext) -> None:
    outcome = prediction.predict(ctx, 1)
    assert set(outcome.hourly["tier"]) == {"unavailable"}
    assert outcome.stored == 0
    result = summary.summarise_prediction(outcome, pd.DataFrame())
    assert "unavailable" in result.summary
    assert result["blocks"].empty


def test_starts_are_advised_from_the_hours_predicted(lived_in: RunContext) -> None:
    outcome = prediction.predict(lived_in)
    advice = recommendation.advise(lived_in, outcome.hourly, outcome.price_errors)
    # the first working hour of the plant is this one: noon of a Tuesday in Madrid
    assert advice.index[0] == INDEX[0]
    chances = advice[[f"p_{name}" for name in CLASSES]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert ((advice["best_start"] >= advice.index) | advice["best_start"].isna()).all()
    result = summary.summarise_prediction(outcome, advice)
    assert "a batch begun on Tuesday 12:00 is " in result.summary
    hours = [result.metrics[f"hours_{name}"] for name in ("optimal", "moderate", "reduced", "halt")]
    assert sum(hours) == len(advice)
    table = result["starts_ahead"]
    assert list(table["start"]) == list(advice.index)
    optimal = table["production_recommendation"] == "Optimal"
    assert (table.loc[optimal, "wait_for"] == "begin").all()
    assert not (table.loc[~optimal, "wait_for"] == "begin").any()
    own = [row[f"p_{row['production_recommendation']}"] for _, row in advice.iterrows()]
    assert table["probability_pct"].to_numpy() == pytest.approx(100 * np.array(own))
    assert np.isfinite(table["regret_eur"].dropna()).all()


def test_without_a_price_no_start_is_advised(ctx: RunContext) -> None:
    outcome = prediction.predict(ctx, 1)
    advice = recommendation.advise(ctx, outcome.hourly, outcome.price_errors)
    assert advice["production_recommendation"].isna().all()
    result = summary.summarise_prediction(outcome, advice)
    assert result.metrics["hours_optimal"] == 0
    assert result["starts_ahead"].empty


def test_the_rule_of_a_made_up_hour(lived_in: RunContext) -> None:
    cheap = one_hour.rule(lived_in, -500.0, 21.0, 55.0)
    assert cheap["outdoor_index_class"] == "Optimal"
    assert cheap[prediction.SCORE_SERIES] == 100.0
    assert one_hour.rule(lived_in, 300.0, 35.0, 90.0)["outdoor_index_class"] == "Halt Production"


def test_a_clock_change_is_written_in_local_hours() -> None:
    index = pd.date_range("2025-10-25T20:00Z", periods=30, freq="h")
    expected = summary.tiers(
        pd.DataFrame({"tier": ["published"] * 27 + ["champion"] * 3}, index=index)
    )
    assert (
        expected == "Prices: published until Mon 27 Oct 00:00, "
        "then forecast by the champion until Mon 27 Oct 03:00."
    )


def test_what_is_said_of_the_coming_hours_is_in_the_time_of_the_plant(
    lived_in: RunContext,
) -> None:
    outcome = prediction.predict(lived_in)
    advice = recommendation.advise(lived_in, outcome.hourly, outcome.price_errors)
    madrid = summary.summarise_prediction(outcome, advice)
    with displayed_in(ZoneInfo("Atlantic/Canary")):
        island = summary.summarise_prediction(outcome, advice)
    hours = [re.findall(r"(\d\d):00", result.summary) for result in (madrid, island)]
    assert len(hours[0]) >= 3
    assert hours[1] == [f"{(int(hour) - 1) % 24:02d}" for hour in hours[0]]
    waits = [
        result["starts_ahead"]["wait_for"].str.extract(r"(\d\d):00")[0]
        for result in (madrid, island)
    ]
    known = waits[0].notna()
    assert known.any()
    assert ((waits[0][known].astype(int) - waits[1][known].astype(int)) % 24 == 1).all()
    begins = pd.DatetimeIndex(island["blocks"]["start"]).tz_convert("Atlantic/Canary")
    assert 0 in begins.hour  # a block ends where the day of its reader does


def hours_of(name: str, price: float, temperature: float, score: float) -> pd.DataFrame:
    columns = {
        "price_eur_mwh": price,
        "temperature_c": temperature,
        "humidity_pct": 55.0,
        "score": score,
    }
    return pd.DataFrame(columns | {"outdoor_index_class": name}, index=INDEX[:3])


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param(
            hours_of("Halt Production", 70.0, 28.0, 44.0),
            "Score 44 of 100: a price of 70 EUR/MWh takes 35 and outdoor air of 28 °C "
            "takes 21. Outdoor index Halt Production, mostly because of warm air.",
            id="price and air",
        ),
        pytest.param(
            hours_of("Moderate", 100.0, 21.0, 38.0),
            "Score 38 of 100: a price of 100 EUR/MWh takes 70 and what forecasts miss "
            "gives back 8. Outdoor index Moderate, mostly because of the price.",
            id="uncertain",
        ),
        pytest.param(
            hours_of("Optimal", 20.0, 21.0, 100.0),
            "Score 100 of 100: nothing is taken.",
            id="all well",
        ),
    ],
)
def test_the_reason_explains_the_score_shown(block: pd.DataFrame, expected: str) -> None:
    assert summary.reason(block, BAND) == expected


def test_the_parts_of_every_reason_add_up_to_the_score_beside_it(lived_in: RunContext) -> None:
    blocks = summary.summarise_prediction(prediction.predict(lived_in), pd.DataFrame())["blocks"]
    assert len(blocks) > 5
    for row in blocks.itertuples():
        assert row.reason.startswith(f"Score {round(row.score)} of 100: ")
        taken = sum(int(points) for points in re.findall(r"takes (\d+)", row.reason))
        given = sum(int(points) for points in re.findall(r"gives back (\d+)", row.reason))
        assert taken - given == 100 - round(row.score)


def test_departures_meet_the_band() -> None:
    departures = band_departures(40.0, 50.0, 80.0, 1000)
    assert np.quantile(departures, (0.1, 0.5, 0.9)) == pytest.approx([-10, 0, 30], abs=0.2)
    assert not band_departures(50.0, 50.0, 50.0, 5).any()
    assert not band_departures(np.nan, 50.0, np.nan, 5).any()


def test_errors_are_those_of_like_forecasts() -> None:
    table = pd.DataFrame(
        {
            "temperature_c": [1.0] * 40 + [9.0] * 40,
            "humidity_pct": 0.0,
            "hour": 23,
            "lead_day": [0] * 40 + [-1] * 40,
        }
    )
    weather = WeatherForecast(pd.DataFrame(), table, "open_meteo", 14)
    assert (weather.errors_like(0, 0, "forecast")[:, 0] == 1).all()
    assert (weather.errors_like(0, 0, "climatology")[:, 0] == 9).all()
    assert (weather.errors_like(0, 3, "forecast")[:, 0] == 9).all()
    assert not weather.errors_like(12, 0, "forecast").any()


@pytest.fixture(scope="module")
def champion(market: DayMatrix, small: ForecasterConfig) -> PriceForecaster:
    return PriceForecaster(small).fit(market.until("2024-02-10"))


class TestChampionServed:
    """The champion's part, on a market long enough for it."""

    def known(self, market: DayMatrix) -> pd.Series:
        return pd.concat(
            to_slots(day.item(), row) for day, row in zip(market.days, market.grid, strict=True)
        )

    def ahead(
        self, market: DayMatrix, champion: PriceForecaster | None, skipped: int = 0
    ) -> price_forecast.PriceForecast:
        known = self.known(market)
        index = pd.date_range(
            known.index[-1] + pd.Timedelta(days=skipped, hours=1), periods=168, freq="h"
        )
        return price_forecast.forecast_prices(known, index, champion)

    def test_each_lead_is_served_by_whichever_was_better(self, market, champion) -> None:
        served = self.ahead(market, champion)
        better = set(champion.rmae_) - set(champion.naive_leads)
        assert better
        days = (np.arange(168) // 24) + 1
        for lead in range(1, 8):
            tiers = set(served.slots["tier"][days == lead])
            assert tiers == {"champion" if lead in better else "naive"}

    def test_without_a_champion_the_naive_forecast_serves(self, market) -> None:
        assert set(self.ahead(market, None).slots["tier"]) == {"naive"}

    def test_a_stale_history_reaches_no_further_than_a_week(self, market, champion) -> None:
        stale = self.ahead(market, champion, skipped=6).slots["tier"]
        assert set(stale[:24]) <= {"champion", "naive"}
        assert set(stale[24:]) == {"unavailable"}

    @pytest.mark.parametrize("tier", ["champion", "naive"])
    def test_quarters_have_the_hours_means_and_their_own_shape(
        self, market, champion, tier
    ) -> None:
        recent = market.days[-40:]
        steps = np.array([-3.0, -1.0, 1.0, 3.0])
        fine = (market.grid[-40:, :, None] + steps).reshape(40, 96)
        known = pd.concat(
            [
                self.known(market.until(recent[0] - 1)),
                *map(to_slots, recent.tolist(), fine),
            ]
        )
        served = champion if tier == "champion" else None
        begin = known.index[-1] + pd.Timedelta(minutes=15)
        hours = price_forecast.forecast_prices(
            known, pd.date_range(begin, periods=24, freq="h"), served
        ).slots
        quarters = price_forecast.forecast_prices(
            known, pd.date_range(begin, periods=96, freq="15min"), served, resolution_s=900
        ).slots
        assert set(quarters["tier"]) == set(hours["tier"])
        means = quarters["p50"].to_numpy().reshape(24, 4).mean(axis=1)
        assert means == pytest.approx(hours["p50"].to_numpy())
        assert (quarters["p10"] <= quarters["p50"]).all()
        assert (quarters["p50"] <= quarters["p90"]).all()


def test_since_the_market_settles_in_quarters_so_are_prices_forecast_and_stored(home: Path) -> None:
    now = datetime(2025, 11, 19, 11, tzinfo=UTC)
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    with open_context(
        settings=settings, as_of=now, clock=SimulatedClock(now), run_id="test"
    ) as ctx:
        starts, values = World().window(
            "spot_eur_mwh", now - timedelta(days=70), now + timedelta(days=3)
        )
        steps = np.where(starts < QUARTERS_SINCE.timestamp(), 3600, 900)
        for step in (3600, 900):
            mine = steps == step
            store_observed(
                ctx,
                "spot_eur_mwh",
                starts[mine],
                values[mine],
                place="ES",
                source="omie",
                at=now,
                step_s=step,
            )
        outcome = prediction.predict(ctx, 2)
        stored = ctx.store.read_forecasts(
            "spot_eur_mwh", places=("ES",), start=now, end=now + timedelta(days=2), models=(OWN,)
        )
    assert len(outcome.slots) == 4 * len(outcome.hourly) == 192
    means = outcome.slots["price_eur_mwh"].resample("h").mean()
    assert means.to_numpy() == pytest.approx(outcome.hourly["price_eur_mwh"].to_numpy())
    assert set(stored["resolution_s"]) == {900}
    assert len(stored) == int((outcome.slots["tier"] == "naive").sum()) > 96
    assert outcome.slots["price_eur_mwh"].diff().ne(0).mean() > 0.9, (
        "quarters of an hour have a shape of their own"
    )
