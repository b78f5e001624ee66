"""The catalogue: cadence, publication and ranges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from factory_lib import catalogue, clock, slots
from factory_lib.errors import BadInput

CATALOGUE = catalogue.default_catalogue()

SPOT, PVPC, TEMPERATURE = (
    CATALOGUE[name] for name in ("spot_eur_mwh", "pvpc_eur_mwh", "temperature_c")
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_spot_is_hourly_until_the_market_changed_to_quarters() -> None:
    start, change, end = (clock.day_start(date(2025, *md)) for md in ((9, 30), (10, 1), (10, 2)))
    starts = slots.expected(SPOT, start, end)
    assert len(starts) == 24 + 96
    assert catalogue.QUARTERS_SINCE == change == at("2025-09-30T22:00")
    assert (slots.resolutions(SPOT, starts) == np.repeat([3600, 900], [24, 96])).all()


@pytest.mark.parametrize(
    ("day", "count"),
    [
        pytest.param(date(2026, 3, 29), 92, id="spring"),
        pytest.param(date(2025, 10, 26), 100, id="autumn"),
    ],
)
def test_quarters_of_clock_change_days(day: date, count: int) -> None:
    assert len(slots.expected(SPOT, *clock.day_bounds(day))) == count


@pytest.mark.parametrize(
    ("now", "last_day"),
    [
        pytest.param("2026-04-15T12:16", date(2026, 4, 15), id="before publication"),
        pytest.param("2026-04-15T12:17", date(2026, 4, 16), id="at publication"),
    ],
)
def test_day_ahead_prices_are_known_until_the_end_of_the_published_day(
    now: str, last_day: date
) -> None:
    rule = SPOT.rule("observed", "ree")
    assert rule.known_until(at(now)) == clock.day_bounds(last_day)[1]


def test_availability_of_a_whole_day_is_one_instant_the_day_before() -> None:
    day = date(2026, 3, 29)
    starts = slots.expected(SPOT, *clock.day_bounds(day))
    known = slots.available_at(SPOT.rule("observed", "omie"), starts, 900)
    assert set(known.tolist()) == {clock.epoch(at("2026-03-28T12:45"))}


def test_availability_agrees_with_the_rule_slot_by_slot() -> None:
    starts = slots.expected(PVPC, at("2026-03-27T00:00"), at("2026-03-31T00:00"))
    rule = PVPC.rule("observed", "ree")
    one_by_one = [clock.epoch(rule.available_at(clock.from_epoch(int(s)), 3600)) for s in starts]
    assert slots.available_at(rule, starts, 3600).tolist() == one_by_one


def test_recent_analysis_is_known_sooner_than_the_archive() -> None:
    start = at("2026-04-15T10:00")
    recent = TEMPERATURE.rule("reanalysis", "open_meteo_recent").available_at(start, 3600)
    archive = TEMPERATURE.rule("reanalysis", "open_meteo").available_at(start, 3600)
    assert archive - recent == timedelta(days=5) - timedelta(hours=1)


def test_windows_need_not_lie_on_the_grid() -> None:
    starts = slots.expected(TEMPERATURE, at("2026-04-15T10:20"), at("2026-04-15T12:01"))
    assert [clock.from_epoch(int(s)).hour for s in starts] == [11, 12]


def test_market_days_as_slots_are_local_midnights() -> None:
    gas = CATALOGUE["gas_generation_mwh"]
    starts = slots.expected(gas, at("2026-03-27T23:00"), at("2026-03-30T22:00"))
    assert [clock.from_epoch(int(s)).hour for s in starts] == [23, 23, 22]


def test_an_unknown_series_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="spot_eur_mwh"):
        CATALOGUE["spot"]
    assert CATALOGUE.get("spot") is None
    assert "spot" not in CATALOGUE


def test_own_series_are_added_to_a_catalogue_of_their_own() -> None:
    own = replace(TEMPERATURE, name="hall_temperature_c", sources=("imported",))
    wider = catalogue.Catalogue([*CATALOGUE.values(), own])
    assert list(wider) == [*CATALOGUE, "hall_temperature_c"]
    assert own in wider.of(catalogue.Measurement.WEATHER)
    assert "hall_temperature_c" not in CATALOGUE
    with pytest.raises(BadInput, match="two series 'temperature_c'"):
        catalogue.Catalogue([*CATALOGUE.values(), TEMPERATURE])


def test_day_ahead_forecasts_are_series_of_their_area() -> None:
    entry = CATALOGUE["fr_wind_forecast_mw"]
    assert (entry.forecast_of, entry.area) == ("wind_mw", "FR")
    named = [name for name, series in CATALOGUE.items() if series.forecast_of]
    assert len(named) == 11, "nine of the operators, wind and sun of the country"
    assert all(set(CATALOGUE[name].publication) == {catalogue.Kind.FORECAST} for name in named)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda e: e.name)
def test_every_entry_is_sound(entry: catalogue.Series) -> None:
    assert entry.low < entry.high
    assert entry.publication
    assert entry.sources
    assert entry.resolution_at(at("2026-04-15T10:00")) in (900, 3600, 86400)
