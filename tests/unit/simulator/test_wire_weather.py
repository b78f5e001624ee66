"""Wire formats of the weather providers, as the specification sheet has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from factory_lib.clock import HOUR_S, epoch, parse_instant
from factory_sim.world import World

HERE = {"latitude": 38.151, "longitude": -3.629}
HOURLY = (
    "temperature_2m,relative_humidity_2m,precipitation,surface_pressure,pressure_msl,"
    "wind_speed_10m,shortwave_radiation"
)
LATIN = "iso-8859-15"
KEY = {"api_key": "a.b.c"}
DAILY = (
    "/aemet/opendata/api/valores/climatologicos/diarios/datos"
    "/fechaini/{}T00:00:00UTC/fechafin/{}T23:59:59UTC/{}"
)
OBSERVATION = "/aemet/opendata/api/observacion/convencional/datos/estacion/5279X"


# -- Open-Meteo ------------------------------------------------------------------------


def archive(bench: Any, first: str, last: str, **query: Any) -> Any:
    return bench.json(
        "/open_meteo/v1/archive", start_date=first, end_date=last, hourly=HOURLY, **HERE, **query
    )


def test_open_meteo_answers_in_columns(bench: Any, world: World) -> None:
    body = archive(bench, "2026-03-01", "2026-03-02", wind_speed_unit="ms", timezone="GMT")
    assert set(body) == {
        "latitude",
        "longitude",
        "generationtime_ms",
        "utc_offset_seconds",
        "timezone",
        "timezone_abbreviation",
        "elevation",
        "hourly_units",
        "hourly",
    }
    assert body["hourly_units"]["wind_speed_10m"] == "m/s"
    assert body["hourly"]["time"][:2] == ["2026-03-01T00:00", "2026-03-01T01:00"]
    assert {len(column) for column in body["hourly"].values()} == {48}
    hours = epoch(datetime(2026, 3, 1, tzinfo=UTC)) + np.arange(48) * HOUR_S
    truth = world.climate.as_seen_by("open_meteo", "temperature_c", hours)
    assert body["hourly"]["temperature_2m"] == pytest.approx(truth, abs=0.051)
    before = world.climate.hourly("solar_radiation_wm2", hours - HOUR_S)
    assert body["hourly"]["shortwave_radiation"] == pytest.approx(before, abs=0.051)


def test_open_meteo_says_kilometres_per_hour_unless_asked(bench: Any) -> None:
    metres = archive(bench, "2026-03-01", "2026-03-01", wind_speed_unit="ms")["hourly"][
        "wind_speed_10m"
    ]
    body = archive(bench, "2026-03-01", "2026-03-01")
    assert body["hourly_units"]["wind_speed_10m"] == "km/h"
    assert body["hourly"]["wind_speed_10m"] == pytest.approx(np.array(metres) * 3.6, abs=0.03)


def test_open_meteos_archive_ends_in_nulls_five_days_ago(bench: Any) -> None:
    column = archive(bench, "2026-04-08", "2026-04-15")["hourly"]["temperature_2m"]
    assert column.index(None) == 2 * 24 + 11  # now is the 15th at 10:00
    assert set(column[column.index(None) :]) == {None}


def test_open_meteo_recent_knows_the_past_and_expects_the_future(bench: Any, world: World) -> None:
    body = bench.json(
        "/open_meteo_recent/v1/forecast",
        hourly="temperature_2m",
        past_days=2,
        forecast_days=3,
        **HERE,
    )
    column = np.array(body["hourly"]["temperature_2m"])
    assert body["hourly"]["time"][0] == "2026-04-13T00:00"
    assert len(column) == 5 * 24
    hours = epoch(datetime(2026, 4, 13, tzinfo=UTC)) + np.arange(120) * HOUR_S
    error = column - world.climate.as_seen_by("open_meteo_recent", "temperature_c", hours)
    assert np.abs(error[:59]).max() < 0.06
    assert np.abs(error[70:]).max() > 0.3


def test_open_meteo_uses_one_offset_for_a_local_answer(bench: Any) -> None:
    body = archive(bench, "2026-03-29", "2026-03-29", timezone="Europe/Madrid")
    assert body["utc_offset_seconds"] == 7200
    assert len(body["hourly"]["time"]) == 24


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            {"start_date": "2026-04-01", "end_date": "2026-05-01"},
            "Parameter 'end_date' is out of allowed range",
        ),
        ({"start_date": "01.04.2026", "end_date": "2026-04-02"}, "Invalid date format"),
        ({"start_date": "2026-04-01"}, "Both 'start_date' and 'end_date' must be set"),
        (
            {"start_date": "2026-04-01", "end_date": "2026-04-02", "latitude": 99},
            "Latitude must be in range",
        ),
        (
            {"start_date": "2026-04-01", "end_date": "2026-04-02", "hourly": "foo"},
            "invalid String value foo",
        ),
    ],
    ids=["range", "format", "one end", "latitude", "variable"],
)
def test_open_meteo_refuses_with_a_reason(bench: Any, query: dict[str, Any], reason: str) -> None:
    answer = bench.get("/open_meteo/v1/archive", **{"hourly": "temperature_2m", **HERE, **query})
    assert answer.status == 400
    body = json.loads(answer.body)
    assert body["error"] is True
    assert reason in body["reason"]


def test_open_meteo_null_run(bench: Any) -> None:
    bench.faults({"kind": "null_run", "source": "open_meteo_recent"})
    body = bench.json(
        "/open_meteo_recent/v1/forecast",
        hourly="temperature_2m",
        past_days=1,
        forecast_days=1,
        **HERE,
    )
    nulls = [at for at, value in zip(*body["hourly"].values(), strict=True) if value is None]
    assert (nulls[0], nulls[-1]) == ("2026-04-14T23:00", "2026-04-15T10:00")


# -- AEMET -----------------------------------------------------------------------------


def two_steps(bench: Any, path: str) -> Any:
    envelope = json.loads(bench.get(path, KEY).body.decode(LATIN))
    assert (envelope["estado"], envelope["descripcion"]) == (200, "exito")
    second = bench.get(envelope["datos"].removeprefix("http://127.0.0.1:1"))
    return json.loads(second.body.decode(second.content_type.split("charset=")[1]))


def test_aemet_envelope(bench: Any) -> None:
    answer = bench.get(OBSERVATION, KEY)
    assert answer.content_type == "application/json;charset=ISO-8859-15"
    assert b'"estado" : 200' in answer.body
    assert answer.headers["Remaining-request-endpoint"] == "39"
    assert bench.get(OBSERVATION, KEY).headers["Remaining-request-endpoint"] == "38"


def test_aemet_observations_carry_the_end_of_the_hour(bench: Any, world: World) -> None:
    rows = two_steps(bench, OBSERVATION)
    assert len(rows) == 24
    assert {
        "idema",
        "lon",
        "lat",
        "alt",
        "ubi",
        "fint",
        "ta",
        "hr",
        "pres",
        "pres_nmar",
        "prec",
        "vv",
    } <= set(rows[-1])
    assert (
        rows[-1]["fint"] == "2026-04-15T09:00:00+0000"
    )  # the hour that ends at 10:00 is not in yet
    end = np.array([epoch(parse_instant("2026-04-15T09:00:00Z"))])
    assert rows[-1]["ta"] == pytest.approx(world.climate.hourly("temperature_c", end)[0], abs=0.051)
    assert rows[-1]["prec"] == pytest.approx(
        world.climate.hourly("precipitation_mm", end - HOUR_S)[0], abs=0.051
    )


def test_aemet_daily_climatology_is_text_and_four_days_late(bench: Any) -> None:
    rows = two_steps(bench, DAILY.format("2026-01-01", "2026-04-15", "estacion/5279X"))
    assert rows[-1]["fecha"] == "2026-04-10"
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert all("," in row["tmed"] and "." not in row["tmed"] for row in rows)
    assert "Ip" in {row["prec"] for row in rows}
    assert "Varias" in {row["horatmin"] for row in rows}


def test_aemet_accumulates_rain_over_days(bench: Any) -> None:
    path = DAILY.format("2025-11-01", "2026-04-01", "estacion/5279X")
    plain = [row["prec"] for row in two_steps(bench, path)]
    bench.faults({"kind": "accumulated", "source": "aemet"})
    accumulated = [row["prec"] for row in two_steps(bench, path)]
    assert "Acum" in accumulated

    def total(words: list[str]) -> float:
        return sum(float(word.replace(",", ".")) for word in words if word[0].isdigit())

    assert total(accumulated) == pytest.approx(total(plain), abs=0.2)


@pytest.mark.parametrize(
    ("first", "last", "who", "text"),
    [
        (
            "2025-01-01",
            "2025-12-31",
            "estacion/5279X",
            "El rango de fechas no puede ser superior a 6 meses",
        ),
        (
            "2025-01-01",
            "2025-01-31",
            "todasestaciones",
            "El rango de fechas no puede ser superior a 15 dias",
        ),
        (
            "2026-04-13",
            "2026-04-14",
            "estacion/5279X",
            "No hay datos que satisfagan esos criterios",
        ),
        (
            "2026-01-01",
            "2026-01-14",
            "estacion/0000X",
            "No hay datos que satisfagan esos criterios",
        ),
    ],
    ids=["6 months", "15 days", "too young", "no station"],
)
def test_aemet_hides_refusals_in_200(
    bench: Any, first: str, last: str, who: str, text: str
) -> None:
    answer = bench.get(DAILY.format(first, last, who), KEY)
    assert answer.status == 200
    assert json.loads(answer.body.decode(LATIN)) == {"descripcion": text, "estado": 404}


@pytest.mark.parametrize(
    ("headers", "quirk", "status", "text"),
    [
        ({}, None, 200, ""),
        (KEY, "malformed_key", 401, "JWT strings must contain exactly 2 period characters"),
        (KEY, "expired_key", 401, "La API Key ha expirado. Genere una nueva API Key."),
        (KEY, "no_data", 200, "No hay datos"),
        (KEY, "without_address", 200, "Se ha alcanzado uno de los límites de uso"),
    ],
    ids=["no key", "malformed", "expired", "no data", "without address"],
)
def test_aemet_refusals(
    bench: Any, headers: dict[str, str], quirk: str | None, status: int, text: str
) -> None:
    if quirk:
        bench.faults({"kind": quirk, "source": "aemet"})
    answer = bench.get(OBSERVATION, headers)
    assert answer.status == status
    assert text in answer.body.decode(LATIN)
    assert bool(answer.body) == bool(text)


def test_aemets_second_address_expires(bench: Any) -> None:
    where = bench.json(OBSERVATION, KEY)["datos"].removeprefix("http://127.0.0.1:1")
    assert bench.get(where).status == 200
    late = bench.at("2026-04-15T10:05:00Z").get(where)
    assert (late.status, late.content_type[:9]) == (404, "text/html")


def test_aemet_quirks_of_documents(bench: Any) -> None:
    bench.faults(
        *({"kind": kind, "source": "aemet"} for kind in ("utf8", "naive_fint", "dead_sensor"))
    )
    rows = two_steps(bench, "/aemet/opendata/api/observacion/convencional/todas")
    assert {"LINARES", "ANDÚJAR", "JAÉN"} == {row["ubi"] for row in rows}
    assert all("vv" not in row and row["fint"].endswith(":00:00") for row in rows)


def test_aemet_hourly_forecast(bench: Any) -> None:
    (forecast,) = two_steps(
        bench, "/aemet/opendata/api/prediccion/especifica/municipio/horaria/23055"
    )
    first, second = forecast["prediccion"]["dia"][:2]
    assert first["fecha"] == "2026-04-15T00:00:00"
    assert [entry["periodo"] for entry in first["temperatura"]] == [
        f"{hour:02d}" for hour in range(12, 24)
    ]
    assert len(second["humedadRelativa"]) == 24
    wind, gust = second["vientoAndRachaMax"][:2]
    assert isinstance(wind["velocidad"], list)
    assert set(gust) == {"value", "periodo"}


def test_aemet_inventory_packs_coordinates(bench: Any) -> None:
    stations = two_steps(
        bench, "/aemet/opendata/api/valores/climatologicos/inventarioestaciones/todasestaciones"
    )
    assert {
        "latitud": "380904N",
        "provincia": "JAEN",
        "altitud": "515",
        "indicativo": "5279X",
        "nombre": "LINARES",
        "indsinop": "",
        "longitud": "033746W",
    } in stations


# -- OpenWeatherMap --------------------------------------------------------------------

OWM = {"lat": 38.151, "lon": -3.629, "appid": "k"}


def test_openweathermap_current(bench: Any) -> None:
    body = bench.at("2026-04-15T08:29:00Z").json(
        "/openweathermap/data/2.5/weather", units="metric", **OWM
    )
    assert body["cod"] == 200
    assert body["dt"] == epoch(parse_instant("2026-04-15T08:13:05Z"))
    assert {"temp", "pressure", "humidity", "sea_level", "grnd_level"} <= set(body["main"])
    kelvin = bench.json("/openweathermap/data/2.5/weather", **OWM)["main"]["temp"]
    assert kelvin == pytest.approx(body["main"]["temp"] + 273.15)


def test_openweathermap_leaves_out_rain_where_there_is_none(bench: Any) -> None:
    entries = bench.json("/openweathermap/data/2.5/forecast", units="metric", **OWM)["list"]
    assert any("rain" in entry for entry in entries) != all("rain" in entry for entry in entries)
    for entry in entries:
        assert ("rain" in entry) == (entry["weather"][0]["main"] == "Rain")


def test_openweathermap_forecast_steps(bench: Any) -> None:
    body = bench.json("/openweathermap/data/2.5/forecast", units="metric", **OWM)
    assert (body["cod"], body["cnt"], len(body["list"])) == ("200", 40, 40)
    assert body["list"][0]["dt_txt"] == "2026-04-15 12:00:00"
    assert np.diff([entry["dt"] for entry in body["list"]]).tolist() == [3 * HOUR_S] * 39


def test_openweathermap_history_is_one_instant(bench: Any) -> None:
    dt = epoch(parse_instant("2026-04-01T08:00:00Z"))
    body = bench.json("/openweathermap/data/3.0/onecall/timemachine", dt=dt, units="metric", **OWM)
    assert [entry["dt"] for entry in body["data"]] == [dt]
    assert {"temp", "pressure", "humidity", "dew_point", "wind_speed"} <= set(body["data"][0])


@pytest.mark.parametrize(
    ("path", "query", "quirk", "status", "cod"),
    [
        ("/data/2.5/weather", {"appid": ""}, None, 401, 401),
        ("/data/2.5/weather", {}, "invalid_key", 401, 401),
        ("/data/3.0/onecall/timemachine", {"dt": 1}, "no_subscription", 401, 401),
        ("/data/2.5/weather", {"lat": 200}, None, 400, "400"),
        ("/data/3.0/onecall/timemachine", {"dt": "x"}, None, 400, 400),
    ],
    ids=["no key", "bad key", "no subscription", "latitude", "dt"],
)
def test_openweathermap_refusals(
    bench: Any, path: str, query: dict[str, Any], quirk: str | None, status: int, cod: int | str
) -> None:
    if quirk:
        bench.faults({"kind": quirk, "source": "openweathermap"})
    answer = bench.get(f"/openweathermap{path}", **{**OWM, **query})
    assert answer.status == status
    assert json.loads(answer.body)["cod"] == cod


# -- SIAR ------------------------------------------------------------------------------

SIAR = "/siar/siarapi/API/V1/Datos/Diarios/ESTACION"
WINDOW = {"Id": "J05", "FechaInicial": "2026-03-01", "FechaFinal": "2026-03-28"}


def test_siar_answers_with_its_misspelt_field(bench: Any) -> None:
    body = bench.json(SIAR, token="t", **WINDOW)
    assert body["MensajeRespuesta"] is None
    assert len(body["datos"]) == 28
    first = body["datos"][0]
    assert "humedadMin" in first
    assert "HumedadMin" not in first
    assert first["Fecha"] == "2026-02-28T23:00:00"  # local midnight, printed in UTC


@pytest.mark.parametrize(
    "quirk", ["bad_token", "before_minimum", "requests_per_minute", "records_per_day"]
)
def test_siar_refuses_everything_with_403(bench: Any, quirk: str) -> None:
    bench.faults({"kind": quirk, "source": "siar"})
    answer = bench.get(SIAR, token="t", **WINDOW)
    assert answer.status == 403
    assert json.loads(answer.body)["MensajeRespuesta"]


def test_siar_exports_utf16(bench: Any) -> None:
    bench.faults(
        {"kind": "empty_rows", "source": "siar"}, {"kind": "absent_days", "source": "siar"}
    )
    body = bench.get(
        "/siar/websiar/export.csv", Id="J05", FechaInicial="2025-01-01", FechaFinal="2025-12-31"
    ).body
    lines = body.decode("utf-16-le").split("\r\n")
    assert lines[0].startswith("IdProvincia;IdEstacion;Fecha;Año;Dia;Temp Media (ºC)")
    rows = [line.split(";") for line in lines[1:-1]]
    assert {len(row) for row in rows} == {24}
    assert 300 < len(rows) < 365
    assert any(set(row[5:]) == {""} for row in rows)


def test_siar_stations_have_their_own_time(bench: Any) -> None:
    old = {"FechaInicial": "2018-01-01", "FechaFinal": "2018-12-31"}
    assert bench.json(SIAR, token="t", Id="J09", **old)["datos"] == []
    assert len(bench.json(SIAR, token="t", Id="J17", **old)["datos"]) == 202
