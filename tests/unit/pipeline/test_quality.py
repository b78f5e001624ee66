from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import day_bounds, epoch
from factory_lib.context import RunContext
from factory_lib.frames import tidy
from factory_lib.pipeline.gaps import analyse
from factory_lib.pipeline.ingest import ingest
from factory_lib.pipeline.quality import flag, run_checks
from factory_lib.settings import Settings
from factory_lib.slots import expected, from_index, resolutions, to_index
from factory_sim.faults import Rule

CATALOGUE = default_catalogue()

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
DAY = timedelta(days=1)
Change = Callable[[np.ndarray], np.ndarray]


def rows(
    name: str,
    change: Change = np.asarray,
    *,
    source: str = "ree",
    day: str = "2026-03-10",
    days: int = 2,
) -> pd.DataFrame:
    """View rows of whole market days, of a daily course that no rule flags, changed."""
    start, _ = day_bounds(datetime.fromisoformat(day).date())
    slots = expected(CATALOGUE[name], start, start + days * DAY)
    hours = (slots - epoch(start)) / 3600
    course = 60.0 + 10 * np.sin(hours * np.pi / 12) + 0.1 * np.sin(hours)
    return pd.DataFrame(
        {
            "series": name,
            "place": "ES",
            "source": source,
            "kind": "observed",
            "resolution_s": resolutions(CATALOGUE[name], slots),
            "start": to_index(slots),
            "rev": 1,
            "value": change(course.copy()),
        }
    )


def at(position: int | slice, value: float) -> Change:
    """Set some of the values."""

    def change(course: np.ndarray) -> np.ndarray:
        course[position] = value
        return course

    return change


def air(change: Change = np.asarray) -> pd.DataFrame:
    """A mild course of temperatures."""
    return rows("temperature_c", lambda course: change(course / 4))


def spot(change: Change = np.asarray, **which: Any) -> pd.DataFrame:
    """Prices of the market."""
    return rows("spot_eur_mwh", change, **which)


def store(ctx: RunContext, table: pd.DataFrame, resolution_s: int) -> None:
    """Write one channel's rows."""
    name, place, source = table[["series", "place", "source"]].iloc[0]
    ctx.store.write(
        tidy(
            name,
            from_index(table["start"]),
            table["value"],
            place=place,
            source=source,
            kind="observed",
            resolution_s=resolution_s,
            retrieved_at=NOW,
        ),
        run_id="test",
    )


TARIFF = rows("pvpc_eur_mwh", lambda course: course + 40)
HOURS_TOO = spot()[::4].assign(resolution_s=3600)


@pytest.mark.parametrize(
    ("table", "rule", "flagged"),
    [
        pytest.param([air()], None, 0, id="nothing-to-flag"),
        pytest.param([air(at(5, 49.0))], "range", 1, id="implausible"),
        pytest.param([air(at(5, 31.0))], "step", 1, id="spike"),
        pytest.param([air(at(slice(20, 48), 31.0))], "flat_line", 28, id="frozen"),
        pytest.param([air(at(slice(20, 25), 17.0))], None, 0, id="calm-night"),
        pytest.param([rows("humidity_pct", at(slice(0, 48), 100.0))], None, 0, id="saturated-air"),
        pytest.param([spot(at(slice(0, 40), 0.0))], None, 0, id="many-zero-quarters"),
        pytest.param([spot(at(slice(0, 96), 0.0))], "all_zero", 96, id="zero-day"),
        pytest.param([spot(at(slice(0, 30), -9.5))], None, 0, id="negative-prices"),
        pytest.param([spot(lambda c: 4 * c), TARIFF], "scale", 192, id="quarter-sums"),
        pytest.param([spot(), TARIFF], None, 0, id="honest-quarters"),
        pytest.param(
            [spot(at(7, 90.0)), spot(source="omie")], "cross_source", 1, id="less-trusted"
        ),
        pytest.param([spot(), spot(lambda c: c + 0.01, source="omie")], None, 0, id="a-cent-apart"),
        pytest.param(
            [spot(at(slice(2, 4), 130.0), day="2024-10-27")], "doubled_hour", 2, id="october"
        ),
        pytest.param([spot(at(2, 130.0), day="2024-10-20")], None, 0, id="a-price-peak"),
        pytest.param([spot(), HOURS_TOO], None, 0, id="hours-beside-quarters"),
    ],
)
def test_a_rule_flags_what_it_is_for(
    settings: Settings, table: list[pd.DataFrame], rule: str | None, flagged: int
) -> None:
    rows_flagged = flag(pd.concat(table, ignore_index=True), settings.quality, settings.catalogue)
    assert rows_flagged["rule"].unique().tolist() == ([rule] if rule else [])
    assert len(rows_flagged) == flagged
    assert rows_flagged["reason"].ne("").all()


def test_of_two_sources_the_less_trusted_is_flag(settings: Settings) -> None:
    both = pd.concat(
        [rows("spot_eur_mwh"), rows("spot_eur_mwh", at(7, 90.0), source="omie")], ignore_index=True
    )
    rows_flagged = flag(both, settings.quality, settings.catalogue)
    assert rows_flagged["source"].tolist() == ["ree"]
    assert "omie says 90" in rows_flagged["reason"].iloc[0]


def test_a_station_and_the_grid_point_beside_it_are_compared(settings: Settings) -> None:
    station = air().assign(source="aemet", place="5279X")
    point = air(lambda c: c + 16).assign(source="open_meteo", place="38.151,-3.629")
    rows_flagged = flag(
        pd.concat([point[:6], station], ignore_index=True), settings.quality, settings.catalogue
    )
    assert set(rows_flagged["rule"]) == {"cross_source"}
    assert rows_flagged["place"].tolist() == ["38.151,-3.629"] * 6


def test_a_frozen_station_contradicts_no_other_source(settings: Settings) -> None:
    station = air(lambda c: np.full_like(c, -5.0)).assign(source="aemet", place="5279X")
    point = air().assign(source="open_meteo", place="38.151,-3.629")
    rows_flagged = flag(
        pd.concat([point, station], ignore_index=True), settings.quality, settings.catalogue
    )
    assert set(rows_flagged["source"]) == {"aemet"}


def test_stray_hours_quarantine_no_quarter_of_the_same_source(ctx: RunContext) -> None:
    quarters = rows("spot_eur_mwh", day="2026-04-14", days=1)
    stray = quarters[::4].assign(value=1.0)
    start = quarters["start"].min().to_pydatetime()
    for resolution_s, table in ((900, quarters), (3600, stray)):
        store(ctx, table, resolution_s)
    assert run_checks(ctx, ["spot_eur_mwh"], [(start, start + DAY)]).empty
    assert len(ctx.store.read("spot_eur_mwh", places=["ES"], start=start, end=start + DAY)) == 96


def test_only_the_latest_revision_is_checked(settings: Settings) -> None:
    first = rows("temperature_c", lambda c: at(5, 49.0)(c / 4))
    mended = rows("temperature_c", lambda c: c / 4).assign(rev=2)
    assert flag(
        pd.concat([first, mended], ignore_index=True), settings.quality, settings.catalogue
    ).empty


def test_the_order_of_rows_does_not_matter(settings: Settings) -> None:
    table = rows("temperature_c", lambda c: at(5, 31.0)(c / 4))
    assert (
        len(flag(table.sample(frac=1, random_state=4), settings.quality, settings.catalogue)) == 1
    )


def test_a_provider_that_sums_quarters_is_quarantined_on_arrival(demo_world: Any) -> None:
    demo_world.simulator.set_rules((Rule("quarter_sums", source="omie"),))
    ctx = demo_world.ctx()
    result = ingest(ctx, "prices", days=3)
    assert set(result["quarantined"]["rule"]) == {"scale"}
    assert set(result["quarantined"]["source"]) == {"omie"}
    shown = ctx.store.read("spot_eur_mwh", places=["ES"], start=NOW - DAY, end=NOW)
    assert set(shown["source"]) == {"ree"}  # the less trusted source stands in


def test_nothing_of_an_honest_provider_is_flagged(demo_world: Any) -> None:
    result = ingest(demo_world.ctx(), "all", days=10)
    assert result["quarantined"].empty


def test_a_frozen_sensor_is_quarantined_and_in_no_view(demo_world: Any) -> None:
    demo_world.simulator.set_rules((Rule("frozen", source="open_meteo_recent"),))
    ctx = demo_world.ctx()
    result = ingest(ctx, "open_meteo_recent", days=3)
    assert "flat_line" in set(result["quarantined"]["rule"])
    report = analyse(ctx, NOW - 3 * DAY, NOW, series=["temperature_c"])
    assert report.metrics["quarantined"] > 24


def test_a_frozen_sensor_stays_quarantined_when_it_is_checked_every_hour(ctx: RunContext) -> None:
    frozen = rows(
        "temperature_c",
        lambda c: at(slice(24, 72), 17.3)(c / 4),
        source="aemet",
        day="2026-04-12",
        days=3,
    )
    frozen = frozen.assign(place="5279X")
    start = frozen["start"].min().to_pydatetime()
    for hour in range(24, 48):
        store(ctx, frozen[: hour + 1], 3600)
        run_checks(ctx, ["temperature_c"], [(start, start + timedelta(hours=hour + 1))])
    shown = ctx.store.read("temperature_c", places=["5279X"], start=start, end=start + 3 * DAY)
    assert len(shown) == 24  # all that came before it froze


def test_a_value_that_a_person_released_is_not_flagged_again(demo_world: Any) -> None:
    demo_world.simulator.set_rules((Rule("frozen", source="open_meteo_recent"),))
    ctx = demo_world.ctx()
    ingest(ctx, "open_meteo_recent", days=3)
    verdicts = ctx.store.read_verdicts()
    later = pd.Timestamp(ctx.clock.now() + timedelta(minutes=1)).as_unit("s")
    ctx.store.write_verdicts(
        verdicts.assign(verdict="released", reason="it was calm", by="a person", at=later)
    )
    again = run_checks(ctx, ["temperature_c", "wind_speed_ms"], [(NOW - 3 * DAY, NOW)])
    assert again.empty
    assert analyse(ctx, NOW - 3 * DAY, NOW, series=["temperature_c"]).metrics["quarantined"] == 0


def test_a_value_that_a_person_quarantined_contradicts_no_other_source(settings: Settings) -> None:
    trusted = rows("spot_eur_mwh", at(7, 90.0), source="omie")
    both = pd.concat([rows("spot_eur_mwh"), trusted], ignore_index=True)
    assert set(flag(both, settings.quality, settings.catalogue)["source"]) == {"ree"}
    quarantined = pd.MultiIndex.from_frame(trusted[["series", "place", "source", "start", "rev"]])
    assert flag(both, settings.quality, settings.catalogue, quarantined).empty
