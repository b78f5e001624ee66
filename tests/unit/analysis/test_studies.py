"""Studies: one series in detail, and the climate risk of the plant."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.analysis import climate_risk, energy_levers, explorer
from factory_lib.context import RunContext
from factory_lib.domain.tariff import read_tariff
from factory_lib.errors import BadInput
from factory_lib.settings import ROOT, Settings
from factory_lib.settings.plant import RoomLimits
from tests.support.stored import store_observed
from tests.support.week import NOON


def air(ctx: RunContext, days: int, celsius: float, percent: float) -> None:
    """Store hours of one and the same outdoor air until now."""
    starts = np.arange(
        int(NOON.timestamp()) - days * 86400, int(NOON.timestamp()), 3600, dtype=np.int64
    )
    for name, value in (("temperature_c", celsius), ("humidity_pct", percent)):
        store_observed(
            ctx, name, starts, np.full(len(starts), value), place="5279X", source="aemet", at=NOON
        )


def at_noon(ctx: RunContext) -> RunContext:
    return replace(ctx, as_of=NOON)


@pytest.mark.parametrize(
    ("celsius", "percent", "unfit", "cause"),
    [
        pytest.param(20.0, 40.0, 0.0, None, id="mild and dry"),
        pytest.param(45.0, 10.0, 100.0, "hot", id="no cooling reaches that"),
        pytest.param(30.0, 80.0, 100.0, "damp", id="no drying reaches that"),
    ],
)
def test_air_that_is_always_the_same_is_always_or_never_in_the_way(
    ctx: RunContext, celsius: float, percent: float, unfit: float, cause: str | None
) -> None:
    air(ctx, 40, celsius, percent)
    result = climate_risk.assess(at_noon(ctx), years=1)
    assert list(result["months"]["month"]) == ["Oct", "Nov"]
    assert (result["months"]["tempering_unfit_pct"] == unfit).all()
    assert (result["months"]["tempering_lost_pct"] == unfit).all(), (
        "and with every hour goes every day"
    )
    for name in ("hot", "damp"):
        assert (
            result["causes"][f"tempering_{name}_pct"] == (100.0 if name == cause else 0.0)
        ).all()
    assert (result["by_hour"]["tempering"].to_numpy() == unfit / 100).all()


def test_only_hours_with_people_count_where_a_stage_needs_them(works: RunContext) -> None:
    result = climate_risk.assess(works, years=1)
    stages = {stage.name: stage for stage in works.settings.plant.stages}
    index = pd.date_range("2025-11-10T00:00Z", periods=168, freq="h", unit="s")
    hours = {
        name: climate_risk._can_run(works.settings.plant, stage, index).sum()
        for name, stage in stages.items()
    }
    assert (hours["conching"], hours["tempering"]) == (168, 5 * 16 + 8)
    assert set(result["by_hour"].columns.unique(0)) == {
        name for name, stage in stages.items() if stage.room != RoomLimits()
    }


def test_without_air_the_risk_is_unknown_and_says_so(ctx: RunContext) -> None:
    result = climate_risk.assess(ctx)
    assert (result.status, result.metrics) == ("warn", {"hours": 0})
    assert result["months"].empty


def test_a_series_comes_with_its_provenance_gaps_and_distribution(works: RunContext) -> None:
    result = explorer.explore(works, "spot_eur_mwh")
    assert result.status == "ok"
    assert result["provenance"][["place", "source", "kind"]].to_dict("records") == [
        {"place": "ES", "source": "ree", "kind": "observed"}
    ]
    assert result["provenance"]["shown"].item() == len(result["values"])
    assert list(result["by_hour"].index) == list(range(24))
    assert (result["months"]["lowest"] <= result["months"]["p5"]).all()
    assert result["complete"].columns.tolist() == ["spot_eur_mwh"]


def test_a_hole_is_counted_and_a_daily_series_has_no_hours(works: RunContext) -> None:
    result = explorer.explore(works, "temperature_c", NOON - timedelta(days=50), NOON)
    assert result.status == "warn"
    assert result.metrics["missing"] == 15 * 24 + 1, "the hour just over is not known yet"
    empty = explorer.explore(works, "produced_kg")
    assert "nothing is stored" in empty.summary
    assert empty["by_hour"].empty


def test_an_unknown_series_is_refused(ctx: RunContext) -> None:
    with pytest.raises(BadInput, match="no series"):
        explorer.explore(ctx, "spot")


def test_a_replay_looks_at_what_was_known(works: RunContext) -> None:
    earlier: datetime = NOON - timedelta(days=10)
    result = explorer.explore(replace(works, as_of=earlier), "temperature_c")
    assert result["values"].index.max() < pd.Timestamp(earlier)


@pytest.fixture
def hours() -> pd.DataFrame:
    """Ten days of one price and mild air, no radiation known."""
    index = pd.date_range("2024-03-03T00:00Z", periods=240, freq="h", unit="s", name="start")
    values = {"spot_eur_mwh": 50.0, "temperature_c": 15.0, "humidity_pct": 40.0}
    return pd.DataFrame({**values, "solar_radiation_wm2": np.nan}, index=index)


def levers(settings: Settings, hours: pd.DataFrame) -> pd.DataFrame:
    tariff = read_tariff(ROOT / "config" / "tariffs_es.csv", "3.0TD", year=2026)
    result = energy_levers.study(settings, tariff, hours)
    assert result.metrics["weeks"] == 1
    return result["levers"].set_index("lever")


def test_a_week_of_a_study_begins_at_midnight_of_the_plant(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = structs.replace(settings.plant, time_zone="Atlantic/Canary")
    request = SimpleNamespace(plant=plant, contract=None, prices=None, tariff=None)
    weeks: list[SimpleNamespace] = []

    def unsolved(week: SimpleNamespace) -> None:
        weeks.append(week)
        raise BadInput("as far as this test goes")

    monkeypatch.setattr(energy_levers, "solve", unsolved)
    monkeypatch.setattr(
        energy_levers, "replace", lambda first, **other: SimpleNamespace(**(vars(first) | other))
    )
    with pytest.raises(BadInput):
        energy_levers.year(request, [date(2026, 7, 13)])  # type: ignore[arg-type]
    (week,) = weeks
    assert (week.begin.hour, week.end.hour) == (23, 23)
    assert max(order.due for order in week.orders) <= week.end


def test_levers_stand_beside_today_for_the_same_kilograms(
    settings: Settings, hours: pd.DataFrame
) -> None:
    table = levers(settings, hours)
    assert table["saved_eur"]["as today"] == 0
    assert table["saved_eur"]["another contract"] > 0
    assert table["saved_eur"]["batches half as large again"] > 0
    today_eur = table["bill_eur"]["as today"]
    assert (table["bill_eur"] + table["saved_eur"]).tolist() == pytest.approx(
        [today_eur] * len(table)
    )
    assert not table.index.str.contains("kWp").any()  # nothing is known of the sun


def test_the_sun_saves_less_by_the_kilowatt_the_more_there_is(
    settings: Settings, hours: pd.DataFrame
) -> None:
    hours["solar_radiation_wm2"] = np.where(hours.index.hour.isin(range(8, 17)), 600.0, 0.0)
    saved = levers(settings, hours)["saved_eur"]
    fifty = saved["50 kWp of solar modules"]
    assert 0 < fifty < saved["100 kWp of solar modules"] < 2 * fifty


def test_a_week_that_misses_a_day_of_prices_is_left_out(
    settings: Settings, hours: pd.DataFrame
) -> None:
    later = hours.set_axis(hours.index + timedelta(days=7))
    hours.iloc[60:84, 0] = np.nan
    both = pd.concat([hours, later[later.index > hours.index[-1]]])
    assert len(levers(settings, both)) == 6
