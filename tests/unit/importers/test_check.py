from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.importers.check import check
from factory_lib.importers.formats import FORMATS
from factory_lib.importers.reading import join_readings
from factory_lib.settings.records import QualitySettings

if TYPE_CHECKING:
    from .conftest import Reader, Writer


def weather(rows: list[tuple[datetime, float, int]]) -> str:
    header = "dt_iso,city_name,temp,pressure,humidity,wind_speed,rain_1h"
    return "\n".join(
        [header, *(f"{t.isoformat(sep=' ')},Madrid,{k},1000,{h},1,0" for t, k, h in rows), ""]
    )


NOW = datetime.fromisoformat("2026-04-15T10:00Z")
T0 = datetime.fromisoformat("2016-07-18T00:00Z")


def test_repeated_lines_count_once_and_contradicting_ones_are_rejected(read: Reader) -> None:
    hour = timedelta(hours=1)
    rows = [(T0, 290.0, 50), (T0, 290.0, 50), (T0 + hour, 291.0, 50), (T0 + hour, 292.0, 50)]
    checked = read.checked(weather(rows))
    assert checked.tables["places"]["duplicates"].tolist() == [2]
    assert checked.counts["repeated_values"] == 4 + 3
    assert checked.tables["repeated"]["line"].tolist() == [3, 5]
    bad = checked.tables["rejected"].iloc[0]
    assert (bad["line"], bad["series"], bad["place"]) == (5, "temperature_c", "Madrid")
    assert "contradicts" in bad["reason"]


@pytest.mark.parametrize(("hours", "frozen"), [(11, 0), (12, 12), (44, 44)], ids=str)
def test_feed_is_frozen_from_twelve_equal_hours_on(read: Reader, hours: int, frozen: int) -> None:
    still = [(T0 + timedelta(hours=n), 290.0, 50) for n in range(hours)]
    alive = [(T0 + timedelta(hours=hours + n), 291.0 + n, 50) for n in range(5)]
    checked = read.checked(weather(still + alive))
    assert checked.tables["places"]["frozen_hours"].tolist() == [frozen]
    assert len(checked.tables["quarantined"]) == frozen * 4
    assert len(checked.rows) == (hours + 5) * 4  # marked, and stored all the same


def test_the_longest_constant_feed_is_a_setting(read: Reader) -> None:
    still = [(T0 + timedelta(hours=n), 290.0, 50) for n in range(12)]
    assert (
        len(read.checked(weather(still), rules=QualitySettings(frozen_h=13)).tables["quarantined"])
        == 0
    )


def test_the_latest_day_of_a_value_is_a_setting(write: Writer, read: Reader) -> None:
    tomorrow = weather([(NOW + timedelta(days=1), 290.0, 50)])
    assert read.checked(tomorrow).tables["rejected"].empty
    rejected = read.checked(tomorrow, rules=QualitySettings(ahead_days=0.5)).tables["rejected"]
    assert set(rejected["reason"]) == {"lies in the future"}


def test_equal_hours_across_a_hole_are_not_frozen(read: Reader) -> None:
    rows = [(T0 + timedelta(hours=n + (24 if n >= 8 else 0)), 290.0, 50) for n in range(16)]
    assert len(read.checked(weather(rows)).tables["quarantined"]) == 0


@pytest.mark.parametrize(
    ("start", "prices", "src", "marked"),
    [
        ("2016-10-29T23:00Z", [50.0, 48.825, 48.825, 46.9], "ree-apidatos/x", ["00:00", "01:00"]),
        ("2016-10-29T23:00Z", [50.0, 48.8, 48.9, 46.9], "ree-apidatos/x", []),
        ("2016-10-29T23:00Z", [50.0, 48.825, 48.825, 46.9], "omie-raw/x", []),
        ("2016-10-30T23:00Z", [50.0, 48.825, 48.825, 46.9], "ree-apidatos/x", []),
    ],
    ids=["halved sum", "two prices", "operator's own", "another night"],
)
def test_halved_october_hours_are_marked(
    write: Writer, read: Reader, start: str, prices: list[float], src: str, marked: list[str]
) -> None:
    marks = read.checked(write.spot(start, prices, src=src)).tables["quarantined"]
    assert marks["start"].dt.strftime("%H:%M").tolist() == marked
    assert set(marks["rule"]) <= {"halved_hour"}


def test_days_are_counted_by_the_local_calendar(write: Writer, read: Reader) -> None:
    whole = write.spot(
        "2024-03-29T23:00Z", [1.0] * (24 + 23 + 24)
    )  # 30 and 31 March (short), 1 April
    lines = whole.splitlines()
    without_short_day = [line for line in lines if not "2024-03-30T23" <= line < "2024-03-31T22"]
    checked = read.checked("\n".join([*without_short_day[:-2], without_short_day[-1], ""]))
    account = checked.tables["places"].iloc[0]
    assert (account["days"], account["missing_days"], account["incomplete_days"]) == (3, 1, 1)
    missing = checked.tables["missing"]
    missing = missing.set_index(missing["day"].dt.strftime("%m-%d"))
    assert missing["slots_missing"].to_dict() == {"03-31": 23, "04-01": 1}
    assert missing["slots_expected"].to_dict() == {"03-31": 23, "04-01": 24}


def test_no_day_is_missing_between_two_stations(write: Writer, read: Reader) -> None:
    old = read.reading(write.siar({date(2017, 12, 31): "1"}), encoding="utf-16-le")
    new = read.reading(write.siar({date(2018, 6, 13): "1"}, station=17), encoding="utf-16-le")
    both = join_readings([old, new])
    done = check(both, FORMATS["siar_csv"], T0, QualitySettings(), default_catalogue())
    places = done.tables["places"]
    assert places["place"].tolist() == ["J09", "J17"]
    assert places["missing_days"].tolist() == [0, 0]


def test_late_station_shows_against_the_window_of_the_file(read: Reader) -> None:
    rows = [(f"2025-08-21T{hour:02d}:00:00Z", "A") for hour in range(4)] + [
        ("2025-08-21T00:00:00Z", "B")
    ]
    text = "\n".join(
        ["fint,idema,measure,value", *(f"{t},{station},ta,20.0" for t, station in rows), ""]
    )
    missing = read.checked(text).tables["missing"]
    assert missing[["place", "slots_missing"]].to_numpy().tolist() == [["B", 3]]


def test_table_without_lines_is_no_error(read: Reader) -> None:
    checked = read.checked("time_utc,spot_eur_mwh\n")
    assert checked.counts["values_read"] == 0
    assert len(checked.tables["places"]) == len(checked.tables["missing"]) == 0


def test_rows_are_tidy(write: Writer, read: Reader) -> None:
    rows = read.checked(write.spot("2024-01-01T00:00Z", [1.0])).rows
    assert rows["start"].dtype == pd.DatetimeTZDtype("s", "UTC")
    assert rows[["kind", "place"]].iloc[0].tolist() == ["observed", "ES"]


def test_price_of_a_day_that_is_not_published_yet_is_rejected(write: Writer, read: Reader) -> None:
    checked = read.checked(write.spot("2026-05-01T00:00Z", [1.0] * 4, minutes=15))
    assert set(checked.tables["rejected"]["reason"]) == {"lies in the future"}
