"""Open-Meteo, OpenWeatherMap and AEMET.

Units, slots, words among numbers, and forecasts apart from observations.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.errors import (
    AuthError,
    BadRange,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    ServerError,
)
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.http import Reply
from factory_lib.slots import from_index
from factory_lib.sources import aemet, open_meteo, openweathermap
from factory_lib.sources.parsing import RowCollector, forecast_rows, reject_outside

NOW = datetime(2026, 4, 15, 8, 40, tzinfo=UTC)
POINT = "38.151,-3.629"


# -- Open-Meteo ------------------------------------------------------------------------


def hourly(**changes: Any) -> dict[str, Any]:
    return {
        "latitude": 38.125,
        "longitude": -3.625,
        "utc_offset_seconds": 0,
        "hourly_units": {"time": "iso8601", "temperature_2m": "°C", "wind_speed_10m": "m/s"},
        "hourly": {
            "time": ["2026-04-01T00:00", "2026-04-01T01:00"],
            "temperature_2m": [11.5, None],
            "wind_speed_10m": [3, 4.5],
        },
    } | changes


def test_a_column_is_a_series_by_hour_and_null_is_absent() -> None:
    body = json.dumps(hourly()).encode()
    rows = open_meteo.parse_hourly(body, ["temperature_c", "wind_speed_ms"], POINT, NOW).rows
    temperature = rows[rows["series"] == "temperature_c"]
    wind = rows[rows["series"] == "wind_speed_ms"]
    assert from_index(temperature["start"]).tolist() == [1775001600]
    assert temperature["value"].tolist() == [11.5]
    assert from_index(wind["start"]).tolist() == [1775001600, 1775005200]
    assert wind["value"].tolist() == [3.0, 4.5]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"utc_offset_seconds": 7200}, id="local times"),
        pytest.param(
            {"hourly_units": {"temperature_2m": "°C", "wind_speed_10m": "km/h"}}, id="km/h"
        ),
        pytest.param({"latitude": 48.1}, id="another place"),
        pytest.param(
            {"hourly": {"time": ["2026-04-01T00:00"], "temperature_2m": [], "wind_speed_10m": []}},
            id="short",
        ),
        pytest.param(
            {"hourly": {"time": ["2026-04-01T00:00", "2026-04-01T02:00"]}}, id="an hour left out"
        ),
        pytest.param({"hourly": {"time": [None]}}, id="no time"),
    ],
)
def test_what_was_not_asked_for_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedResponse):
        open_meteo.parse_hourly(
            json.dumps(hourly(**change)).encode(), ["temperature_c", "wind_speed_ms"], POINT, NOW
        )


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        pytest.param(
            "Minutely API request limit exceeded. Please try again in one minute.", 60, id="minute"
        ),
        pytest.param(
            "Hourly API request limit exceeded. Please try again in the next hour.", 3600, id="hour"
        ),
        pytest.param(
            "Daily API request limit exceeded. Please try again tomorrow.", 86400, id="day"
        ),
        pytest.param("Too many concurrent requests", 5, id="concurrent"),
    ],
)
def test_the_reason_of_a_429_says_how_long(reason: str, seconds: float) -> None:
    error = open_meteo.classify_response(
        Reply(429, {}, json.dumps({"error": True, "reason": reason}).encode())
    )
    assert isinstance(error, QuotaError)
    assert error.retry_after_s == seconds


# -- AEMET -----------------------------------------------------------------------------


def observation(fint: str, **values: Any) -> dict[str, Any]:
    return {
        "idema": "5279X",
        "lon": -3.6,
        "lat": 38.15,
        "alt": 515.0,
        "ubi": "LINARES",
        "fint": fint,
        **values,
    }


@pytest.mark.parametrize("offset", ["", "+0000", "+00:00", "Z"])
def test_readings_start_at_fint_and_rain_ends_there(offset: str) -> None:
    body = json.dumps(
        [
            observation(
                f"2026-04-15T08:00:00{offset}", ta=14.5, prec=1.2, pres=955.0, pres_nmar=1013.0
            )
        ]
    )
    rows = aemet.parse_observations(body, "5279X", NOW).rows.set_index("series")
    at = datetime(2026, 4, 15, 8, tzinfo=UTC)
    assert rows["start"].to_dict() == {
        "temperature_c": at,
        "pressure_station_hpa": at,
        "pressure_sea_level_hpa": at,
        "precipitation_mm": at - timedelta(hours=1),
    }
    assert rows["value"].to_dict()["pressure_station_hpa"] == 955.0


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([observation("2026-04-15T08:00:00+0200", ta=1.0)], id="another offset"),
        pytest.param([observation("2026-04-15T08:10:00+0000", ta=1.0)], id="off the hour"),
        pytest.param([observation("2026-04-15T09:00:00+0000", ta=1.0)], id="still to come"),
        pytest.param(
            [observation("2026-04-15T08:00:00+0000", ta=1.0) | {"idema": "5298X"}],
            id="another station",
        ),
        pytest.param([observation("today", ta=1.0)], id="no time"),
        pytest.param({"estado": 200}, id="no list"),
    ],
)
def test_observations_that_cannot_be_are_malformed(records: Any) -> None:
    with pytest.raises(MalformedResponse):
        aemet.parse_observations(json.dumps(records), "5279X", NOW)


def test_a_stray_observation_costs_itself_alone() -> None:
    hours = [observation(f"2026-04-15T{hour:02d}:00:00+0000", ta=float(hour)) for hour in range(8)]
    strays = [
        observation("2026-04-15T03:07:00+0000", ta=1.0),  # off the hour
        hours[5],  # again, the same
        observation("2026-04-15T06:00:00+0000", ta=9.0),  # again, another
        observation("2026-04-15T01:00:00+0000", ta=1.0),  # out of order
        observation("tomorrow", ta=1.0),
    ]
    body = json.dumps([*hours[:6], *strays[:2], hours[6], *strays[2:], hours[7]])
    parsed = aemet.parse_observations(body, "5279X", NOW)
    assert parsed.rows["value"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0]
    assert len(parsed.rejected) == 4


def test_an_expired_address_is_not_no_data() -> None:
    body = b'{"descripcion" : "datos expirados", "estado" : 404}'
    for status in (200, 404):
        reply = Reply(status, {}, body)
        gone = aemet.classify_response(reply, document=True)
        assert isinstance(gone, NoDataYet)
        assert gone.status == 404


def test_daily_climate_reads_commas_traces_and_absent_keys() -> None:
    records = [
        {
            "fecha": "2020-01-01",
            "indicativo": "5279X",
            "tmed": "7,6",
            "prec": "Ip",
            "hrMedia": "75",
            "horaHrMax": "Varias",
        },
        {
            "fecha": "2020-01-02T00:00:00",
            "indicativo": "5279X",
            "tmed": "-1,9",
            "prec": "Acum",
            "hrmedia": "80",
        },
        {"fecha": "2020-01-03", "indicativo": "5279X", "prec": "11,8"},
    ]
    parsed = aemet.parse_daily(json.dumps(records), "5279X", NOW)
    found = parsed.rows.set_index(["series", "start"])["value"].to_dict()
    days = [datetime(2020, 1, n, tzinfo=UTC) for n in (1, 2, 3)]
    assert found == {
        ("temperature_mean_c", days[0]): 7.6,
        ("temperature_mean_c", days[1]): -1.9,
        ("humidity_mean_pct", days[0]): 75.0,
        ("humidity_mean_pct", days[1]): 80.0,
        ("precipitation_sum_mm", days[0]): 0.0,
        ("precipitation_sum_mm", days[2]): 11.8,
    }
    assert ["Acum" in row.reason for row in parsed.rejected] == [True]


def test_the_words_of_rain_are_no_temperatures() -> None:
    records = [
        {"fecha": "2020-01-01", "indicativo": "5279X", "tmed": "Ip", "tmax": "Varias", "tmin": 7}
    ]
    parsed = aemet.parse_daily(json.dumps(records), "5279X", NOW)
    assert parsed.rows.empty
    assert len(parsed.rejected) == 3


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        pytest.param(200, "", AuthError, id="no key: an empty 200"),
        pytest.param(
            401, '{"descripcion":"La API Key ha expirado.","estado":401}', AuthError, id="expired"
        ),
        pytest.param(
            200,
            '{"descripcion" : "No hay datos que satisfagan", "estado" : 404}',
            NoDataYet,
            id="no data",
        ),
        pytest.param(
            200,
            '{"descripcion":"El rango de fechas no puede ser","estado":404}',
            BadRange,
            id="range",
        ),
        pytest.param(429, '{"descripcion":"límites de uso","estado":429}', QuotaError, id="429"),
        pytest.param(
            200, '{"descripcion":"límites de uso","estado":429}', QuotaError, id="429 inside a 200"
        ),
        pytest.param(
            200, '{"descripcion":"error","estado":500}', ServerError, id="500 inside a 200"
        ),
        pytest.param(
            200, '{"descripcion":"exito","estado":200,"datos":"x"}', type(None), id="success"
        ),
        pytest.param(200, "[]", type(None), id="a document"),
    ],
)
def test_estado_counts_and_not_the_status(status: int, content: str, error: type) -> None:
    assert isinstance(aemet.classify_response(Reply(status, {}, content.encode())), error)


def test_forecast_hours_are_local_also_when_one_happens_twice() -> None:
    hours = [f"{n:02d}" for n in (0, 1, 2, 2, 3)]
    day = {
        "fecha": "2026-10-25T00:00:00",
        "temperatura": [{"value": str(n), "periodo": hour} for n, hour in enumerate(hours)],
        "humedadRelativa": [{"value": "", "periodo": "00"}, {"value": "-0", "periodo": "03"}],
    }
    body = json.dumps([{"elaborado": "2026-10-24T10:00:00", "prediccion": {"dia": [day]}}])
    series = ("temperature_c", "humidity_pct")
    parsed = aemet.parse_hourly_forecast(body, series, POINT, NOW)
    temperature = parsed.rows[parsed.rows["series"] == "temperature_c"]
    humidity = parsed.rows[parsed.rows["series"] == "humidity_pct"]
    midnight = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp())
    assert parsed.issued_at == datetime(2026, 10, 24, 8, tzinfo=UTC)
    assert from_index(temperature["start"]).tolist() == [midnight + 3600 * n for n in range(5)]
    assert temperature["value"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert from_index(humidity["start"]).tolist() == [midnight + 4 * 3600]
    assert humidity["value"].tolist() == [0.0]


@pytest.mark.parametrize(
    "dates",
    [
        pytest.param(["2026-04-15T00:00:00", "2026-04-17T00:00:00"], id="a day left out"),
        pytest.param(["2026-04-15T00:00:00", "2026-04-16T00:00:09"], id="no midnight"),
    ],
)
def test_forecast_days_follow_each_other(dates: list[str]) -> None:
    days = [{"fecha": date, "temperatura": [{"value": "1", "periodo": "10"}]} for date in dates]
    body = json.dumps([{"elaborado": "2026-04-15T08:00:00", "prediccion": {"dia": days}}])
    with pytest.raises(MalformedResponse):
        aemet.parse_hourly_forecast(body, ("temperature_c",), POINT, NOW)


def test_an_hour_told_twice_moves_no_other() -> None:
    hours = [
        {"value": value, "periodo": hour} for value, hour in (("1", "10"), ("1", "10"), ("2", "11"))
    ]
    day = {"fecha": "2026-04-15T00:00:00", "temperatura": hours}
    body = json.dumps([{"elaborado": "2026-04-15T08:00:00", "prediccion": {"dia": [day]}}])
    with pytest.raises(MalformedResponse):
        aemet.parse_hourly_forecast(body, ("temperature_c",), POINT, NOW)


def test_the_real_observations_of_a_night_go_through(real_data: Path) -> None:
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    with gzip.open(
        real_data / "aemet_obs_all_stations_20250820T23_20250821T11.csv.gz", "rt", encoding="utf-8"
    ) as file:
        for row in csv.DictReader(file):
            record = found[row["idema"]].setdefault(
                row["fint"], {"idema": row["idema"], "fint": row["fint"]}
            )
            record[row["measure"]] = float(row["value"])
    stations = list(found)[::40]
    for station in stations:
        records = [found[station][fint] for fint in sorted(found[station])]
        parsed = aemet.parse_observations(json.dumps(records), station, NOW)
        temperatures = [record["ta"] for record in records if "ta" in record]
        assert parsed.rows.query("series == 'temperature_c'")["value"].tolist() == temperatures
    assert len(stations) > 15


# -- OpenWeatherMap --------------------------------------------------------------------


def current(**changes: Any) -> bytes:
    reading = {
        "coord": {"lat": 38.15, "lon": -3.63},
        "cod": 200,
        "dt": int(NOW.timestamp()) - 1015,  # 08:23:05
        "main": {
            "temp": 17,
            "humidity": 55,
            "pressure": 1013,
            "sea_level": 1013,
            "grnd_level": 955,
        },
        "wind": {"speed": 3.6},
    }
    return json.dumps(reading | changes).encode()


def test_an_odd_second_stands_for_its_hour_and_no_rain_is_zero() -> None:
    rows = openweathermap.parse_current(current(), POINT, NOW).rows.set_index("series")
    hour = datetime(2026, 4, 15, 8, tzinfo=UTC)
    assert set(rows.drop("precipitation_mm")["start"]) == {hour}
    assert rows.loc["precipitation_mm", ["start", "value"]].tolist() == [
        hour - timedelta(hours=1),
        0.0,
    ]
    assert rows.loc["pressure_station_hpa", "value"] == 955.0
    assert rows.loc["pressure_sea_level_hpa", "value"] == 1013.0


def test_rain_and_snow_add_up() -> None:
    rows = openweathermap.parse_current(
        current(rain={"1h": 0.5}, snow={"1h": 0.25}), POINT, NOW
    ).rows
    assert rows.query("series == 'precipitation_mm'")["value"].tolist() == [0.75]


@pytest.mark.parametrize(
    ("minute", "hour"), [pytest.param(40, -1, id="mostly of"), pytest.param(58, 0, id="all of")]
)
def test_rain_is_of_the_hour_before_or_of_the_hour_all_but_over(minute: int, hour: int) -> None:
    at = NOW.replace(minute=0) + timedelta(minutes=minute)
    body = current(rain={"1h": 0.5}, dt=int(at.timestamp()))
    rows = openweathermap.parse_current(body, POINT, at + timedelta(minutes=1)).rows
    rain = rows.query("series == 'precipitation_mm'")["start"]
    assert rain.tolist() == [NOW.replace(minute=0) + timedelta(hours=hour)]


def test_a_reading_of_a_clock_ahead_is_of_the_present_hour() -> None:
    now = NOW.replace(minute=58)
    body = current(dt=int(now.timestamp()) + 180)
    rows = openweathermap.parse_current(body, POINT, now).rows
    assert rows.query("series == 'temperature_c'")["start"].tolist() == [NOW.replace(minute=0)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"dt": int(NOW.timestamp()) - 3600}, NoDataYet, id="an old reading"),
        pytest.param({"dt": int(NOW.timestamp()) + 400}, NoDataYet, id="a reading to come"),
        pytest.param({"cod": "404"}, MalformedResponse, id="another code"),
        pytest.param({"coord": {"lat": 51.5, "lon": 0}}, MalformedResponse, id="London"),
        pytest.param({"main": []}, MalformedResponse, id="another structure"),
        pytest.param({"rain": {"1h": "much"}}, MalformedResponse, id="rain in words"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(
    change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        openweathermap.parse_current(current(**change), POINT, NOW)


def test_kelvin_is_out_of_range_and_rejected() -> None:
    answer = current(main={"temp": 290.2, "humidity": 55})
    parsed = openweathermap.parse_current(answer, POINT, NOW)
    parsed = reject_outside(parsed, default_catalogue())
    assert "temperature_c" not in set(parsed.rows["series"])
    assert "outside" in parsed.rejected[0].reason


def test_a_401_about_the_plan_is_not_about_the_key() -> None:
    said = (
        b'{"cod":401, "message": "Please note that using One Call 3.0 requires '
        b'a separate subscription to"}'
    )
    error = openweathermap.classify_response(Reply(401, {}, said))
    assert isinstance(error, AuthError)
    assert "subscription" in error.detail


# -- forecasts -------------------------------------------------------------------------


def test_a_forecast_row_is_to_come_and_in_range_and_has_no_spread() -> None:
    hour = int(NOW.timestamp()) // 3600 * 3600
    collector = RowCollector("aemet", POINT, "observed", NOW)
    starts = [hour, hour + 3600, hour + 7200, hour + 10800]
    collector.add("temperature_c", starts, [10.0, 11.0, 400.0, np.nan], 3600)
    parsed = reject_outside(collector.parsed(), default_catalogue())
    rows = forecast_rows(parsed.rows, model="aemet", issued_at=NOW)
    (row,) = rows.to_dict("records")
    assert (row["p50"], row["target_start"].timestamp()) == (11.0, hour + 3600)
    assert rows[["p10", "p90"]].isna().all(axis=None)
    assert list(rows) == list(FORECAST_COLUMNS)


@pytest.mark.parametrize(
    ("readings", "error"),
    [
        pytest.param([], NoDataYet, id="none"),
        pytest.param(
            [{"dt": 1776240000, "temp": 11}, {"dt": 1776240000, "temp": 12}],
            MalformedResponse,
            id="two",
        ),
        pytest.param([{"dt": 1776243600, "temp": 11}], MalformedResponse, id="another hour"),
    ],
)
def test_history_is_the_one_reading_of_the_hour_that_was_asked_for(
    readings: list[Any], error: type[Exception]
) -> None:
    hour = datetime(2026, 4, 15, 8, tzinfo=UTC)
    body = json.dumps({"lat": 38.15, "lon": -3.63, "data": readings}).encode()
    with pytest.raises(error):
        openweathermap.parse_history(body, POINT, hour, NOW)
    good = json.dumps(
        {"lat": 38.15, "lon": -3.63, "data": [{"dt": 1776240000, "temp": 11, "humidity": 50}]}
    ).encode()
    rows = openweathermap.parse_history(good, POINT, hour, NOW).rows
    assert rows.set_index("series")["value"].to_dict() == {
        "temperature_c": 11.0,
        "humidity_pct": 50.0,
    }
    assert set(rows["start"]) == {hour}
