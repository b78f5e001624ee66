from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member
from factory_lib.importers.formats import detect
from factory_lib.pipeline.forecasts import ISSUED_AT, issued_on_the_day_before

if TYPE_CHECKING:
    from .conftest import Reader, Writer

T = pd.Timestamp


def values(checked: Any, series: str) -> dict[str, float]:
    rows = checked.rows[checked.rows["series"] == series]
    return dict(zip(rows["start"].dt.strftime("%Y-%m-%dT%H:%M"), rows["value"], strict=True))


@pytest.mark.parametrize(
    ("day", "periods", "first", "last"),
    [
        pytest.param(date(2024, 6, 15), 24, "2024-06-14T22:00Z", "2024-06-15T21:00Z", id="hours"),
        pytest.param(
            date(2024, 3, 31), 23, "2024-03-30T23:00Z", "2024-03-31T21:00Z", id="short day"
        ),
        pytest.param(
            date(2024, 10, 27), 25, "2024-10-26T22:00Z", "2024-10-27T22:00Z", id="long day"
        ),
        pytest.param(
            date(2025, 9, 30), 24, "2025-09-29T22:00Z", "2025-09-30T21:00Z", id="last hourly day"
        ),
        pytest.param(
            date(2025, 10, 1),
            96,
            "2025-09-30T22:00Z",
            "2025-10-01T21:45Z",
            id="first day in quarters",
        ),
        pytest.param(
            date(2025, 10, 26),
            100,
            "2025-10-25T22:00Z",
            "2025-10-26T22:45Z",
            id="long day in quarters",
        ),
        pytest.param(
            date(2026, 3, 29),
            92,
            "2026-03-28T23:00Z",
            "2026-03-29T21:45Z",
            id="short day in quarters",
        ),
    ],
)
def test_daily_market_file_is_counted_from_local_midnight(
    write: Writer, read: Reader, day: date, periods: int, first: str, last: str
) -> None:
    prices = [float(n) - 3 for n in range(periods)]
    rows = read.checked(write.omie(day, prices), f"marginalpdbc_{day:%Y%m%d}.1").rows
    assert list(rows["value"]) == prices  # column 6, negative and zero ones too
    assert (rows["start"].iloc[0], rows["start"].iloc[-1]) == (T(first), T(last))
    assert set(rows["source"]) == {"omie"}


@pytest.mark.parametrize(
    ("day", "periods"),
    [
        (date(2024, 6, 15), 25),
        (date(2024, 6, 15), 96),
        (date(2025, 10, 2), 24),
        (date(2025, 10, 2), 100),
    ],
    ids=["25 of 24", "96 of 24", "24 of 96", "100 of 96"],
)
def test_market_day_with_periods_it_cannot_have_is_refused(
    write: Writer, read: Reader, day: date, periods: int
) -> None:
    with pytest.raises(ImportFileError, match=f"{day}, which has"):
        read.reading(write.omie(day, [1.0] * periods), f"marginalpdbc_{day:%Y%m%d}.1")


def test_market_day_that_lacks_periods_is_incomplete_and_the_days_beside_it_are_not_missing(
    write: Writer, read: Reader
) -> None:
    account = (
        read.checked(write.omie(date(2024, 6, 15), [1.0] * 23), "marginalpdbc_20240615.1")
        .tables["places"]
        .iloc[0]
    )
    assert (account["days"], account["missing_days"], account["incomplete_days"]) == (1, 0, 1)


def test_market_file_that_was_cut_is_refused(write: Writer, read: Reader) -> None:
    text = write.omie(date(2024, 6, 15), [1.0] * 24)
    with pytest.raises(ImportFileError):
        read.reading(text[: len(text) - 30], "marginalpdbc_20240615.1")


def test_hourly_prices_keep_the_source_of_each_row(write: Writer, read: Reader) -> None:
    text = write.spot("2024-01-01T00:00Z", [1.5, -0.5], src="esios-600/mirror")
    rows = read.checked(text).rows
    assert set(rows["source"]) == {"esios"}
    assert list(rows["value"]) == [1.5, -0.5]
    strange = read.checked(text.replace("esios-600", "hearsay"))
    assert len(strange.rows) == 0
    assert set(strange.tables["rejected"]["reason"]) == {"unknown source"}


def test_prices_in_quarters_differ_from_hours_by_their_minutes(write: Writer, read: Reader) -> None:
    quarters = read.checked(write.spot("2025-10-01T10:00Z", [4.0, 5.0, 6.0, 7.0], minutes=15))
    assert set(quarters.rows["resolution_s"]) == {900}
    hours = read.checked(write.spot("2025-10-01T10:00Z", [4.0, 5.0]))
    assert list(hours.tables["rejected"]["reason"]) == ["not the resolution of that time"] * 2


def test_regulated_tariff_becomes_eur_per_mwh(read: Reader) -> None:
    prices = values(
        read.checked("time_utc,pvpc_eur_kwh\n2024-01-01T00:00:00Z,0.11633\n"), "pvpc_eur_mwh"
    )
    assert prices == {"2024-01-01T00:00": 116.33}


@pytest.mark.parametrize(
    ("day", "keys", "starts"),
    [
        pytest.param("2024-06-15", [0, 2, 23], ["14T22:00", "15T00:00", "15T21:00"], id="24 hours"),
        pytest.param(
            "2021-10-31",
            [0, 2, 3, 24],
            ["30T22:00", "31T00:00", "31T01:00", "31T22:00"],
            id="25: elapsed",
        ),
        pytest.param(
            "2022-03-27",
            [0, 1, 3, 23],
            ["26T23:00", "27T00:00", "27T01:00", "27T21:00"],
            id="23: key 2 absent",
        ),
    ],
)
def test_keys_of_a_tariff_day_are_elapsed_hours(
    read: Reader, day: str, keys: list[int], starts: list[str]
) -> None:
    body = json.dumps({"day": day, "data": {str(key): 0.1 + key / 100 for key in keys}})
    prices = values(read.checked(body, "01.json"), "pvpc_eur_mwh")
    assert prices == {
        f"{day[:8]}{s}": round(100 + 10 * key, 5) for s, key in zip(starts, keys, strict=True)
    }


@pytest.mark.parametrize(
    ("day", "key"),
    [("2022-03-27", "2"), ("2024-06-15", "24"), ("2024-06-15", "-1")],
    ids=["skipped", "25th", "negative"],
)
def test_hour_that_the_day_does_not_have_is_rejected(read: Reader, day: str, key: str) -> None:
    checked = read.checked(json.dumps({"day": day, "data": {"5": 0.1, key: 0.2}}), "01.json")
    assert len(checked.rows) == 1
    assert list(checked.tables["rejected"]["text"]) == [f"{key}: 0.2"]


def test_siar_export_in_utf16_without_mark(write: Writer, read: Reader) -> None:
    text = write.siar(
        {date(2005, 3, 1): "12,5", date(2005, 3, 2): "", date(2005, 3, 4): "8"}, station=17
    )
    checked = read.checked(text, encoding="utf-16-le")
    assert values(checked, "temperature_mean_c") == {
        "2005-03-01T00:00": 12.5,
        "2005-03-04T00:00": 8.0,
    }
    account = checked.tables["places"].iloc[0]
    assert (account["place"], account["missing_days"], account["empty_days"]) == ("J17", 1, 1)


SIAR_EXPORT = (
    "IdProvincia;IdEstacion;Fecha;Año;Dia;Temp Media (ºC);Temp Max (ºC);Temp Mínima (ºC);"
    "Humedad Media (%);Humedad Max (%);Humedad Min (%);Velviento (m/s);Radiación (MJ/m2);"
    "Precipitación (mm)"
)
SIAR_ROW = "23;9;{day};2000;{number};25,63;27,72;22,89;40,6;56,29;33,69;1,17;7,42;0"


def siar_export(*rows: tuple[str, int]) -> str:
    lines = [SIAR_ROW.format(day=day, number=number) for day, number in rows]
    return "\r\n".join([SIAR_EXPORT, *lines, ""])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8"])
def test_siar_export_reads_commas_and_its_station(read: Reader, encoding: str) -> None:
    rows = read.checked(siar_export(("24/08/2000", 237)), encoding=encoding).rows
    by_series = rows.set_index("series")["value"].to_dict()
    assert set(rows["place"]) == {"J09"}
    assert set(rows["start"]) == {datetime(2000, 8, 24, tzinfo=UTC)}
    assert by_series["temperature_mean_c"] == 25.63
    assert by_series["wind_speed_mean_ms"] == 1.17
    assert by_series["solar_radiation_mj_m2"] == 7.42
    assert len(by_series) == 9


def test_siar_row_whose_date_and_number_disagree_is_rejected(read: Reader) -> None:
    text = siar_export(("24/08/2000", 237), ("26/08/2000", 238))
    checked = read.checked(text, encoding="utf-16-le")
    assert checked.rows["start"].nunique() == 1
    assert list(checked.tables["rejected"]["line"]) == [3]
    assert list(checked.tables["rejected"]["reason"]) == ["date and day of the year disagree"]


def test_siar_day_twice_counts_once(read: Reader) -> None:
    text = siar_export(("24/08/2000", 237), ("24/08/2000", 237))
    assert read.checked(text, encoding="utf-16-le").counts["repeated_values"] == 9


def test_siar_station_of_an_unknown_province_is_rejected(read: Reader) -> None:
    text = siar_export(("24/08/2000", 237)).replace("\r\n23;", "\r\n14;")
    checked = read.checked(text, encoding="utf-16-le")
    assert checked.rows.empty
    assert "unknown province" in set(checked.tables["rejected"]["reason"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (siar_export(("24/08/2000", 237)).replace("7,42;0", "7,42;0;7"), "values for"),
        (siar_export(("24/08/2000", 237)).replace("Humedad Max (%)", "Humedad"), "has no column"),
        (
            siar_export(("24/08/2000", 237), ("25/08/2000", 238)).replace("23;9;25", "23;17;25"),
            "rows of 2 stations",
        ),
    ],
    ids=["a cell too many", "a column missing", "two stations"],
)
def test_another_siar_file_is_not_read(read: Reader, text: str, problem: str) -> None:
    with pytest.raises(ImportFileError, match=problem):
        read.reading(text, encoding="utf-16-le")


def test_weather_history_of_cities(read: Reader) -> None:
    text = (
        "dt_iso,city_name,temp,pressure,humidity,wind_speed,rain_1h\n"
        "2015-03-29 01:00:00+01:00,Seville,283.15,971,63,1,0.0\n"
        "2015-03-29 03:00:00+02:00, Bilbao,273.15,971,64,2,0.3\n"
    )
    checked = read.checked(text)
    assert values(checked, "temperature_c") == {"2015-03-29T00:00": 10.0, "2015-03-29T01:00": 0.0}
    rain = values(checked, "precipitation_mm")  # of the hour before the instant
    assert rain == {"2015-03-28T23:00": 0.0, "2015-03-29T00:00": 0.3}
    assert set(checked.rows["place"]) == {"Sevilla", "Bilbao"}
    assert not any(
        name.startswith("pressure") for name in checked.rows["series"]
    )  # station and sea level in one column


def test_energy_table_gives_prices_load_and_the_operators_forecasts(read: Reader) -> None:
    columns = (
        "time_utc,generation biomass,forecast solar day ahead,forecast wind onshore day ahead,"
        "total load forecast,"
        "total load actual,price day ahead,price actual"
    )
    reading = read.reading(f"{columns}\n2016-07-01T10:00:00Z,1,100.0,200.0,30000.0,,50.1,60.2\n")
    assert reading.table["spot_eur_mwh"].tolist() == [50.1]  # and not the final price
    assert reading.table["load_mw"].isna().all()
    forecasts = reading.table[
        ["es_load_forecast_mw", "es_wind_forecast_mw", "es_solar_forecast_mw"]
    ]
    assert forecasts.to_numpy().tolist() == [[30000.0, 200.0, 100.0]]
    assert any("11:00" in note for note in reading.notes)


def test_forecast_issue_follows_the_clock_change() -> None:
    targets = pd.Series([T("2016-07-01T10:00Z"), T("2016-03-28T10:00Z"), T("2016-03-27T00:00Z")])
    issued = issued_on_the_day_before(targets, ISSUED_AT)  # 11:00 in Madrid, the day before
    assert list(issued) == [
        T("2016-06-30T09:00Z"),
        T("2016-03-27T09:00Z"),
        T("2016-03-26T10:00Z"),
    ]


def test_gas_generation_belongs_to_the_local_day(read: Reader) -> None:
    head = "date,datetime,gas_gen_mwh,gas_gen_percentage\n"
    text = head + "2024-07-01,2024-07-01T00:00:00.000+02:00,5000.5,0.2\n"
    assert values(read.checked(text), "gas_generation_mwh") == {"2024-06-30T22:00": 5000.5}


def test_hourly_observations_readings_start_and_precipitation_ends_at_their_stamp(
    read: Reader,
) -> None:
    text = "fint,idema,measure,value\n" + "\n".join(
        f"2025-08-21T11:00:00Z,5279X,{name},{value}"
        for name, value in (("ta", 28.8), ("prec", 0.2), ("tamax", 29.9))
    )
    checked = read.checked(text + "\n")
    assert values(checked, "temperature_c") == {"2025-08-21T11:00": 28.8}
    assert values(checked, "precipitation_mm") == {"2025-08-21T10:00": 0.2}


def test_daily_release_has_words_among_its_numbers(read: Reader) -> None:
    header = (
        "Indicativo;Nombre;Provincia;Altitud;Año;Mes;Dia;T.Max;Hora;T.Min;Hora;T.Med;"
        "Racha;Dir;Hora;Vel.media;Prec.;Sol"
    )
    rows = [
        f"5270B;JAÉN;JAEN;580;2012;9;{day};21,3;Varias;-1,5;06:10;17,3;5,8;03;14:00;1,4;{rain};10,1"
        for day, rain in ((29, "Ip"), (30, "Acum"))
    ]
    checked = read.checked("\r\n".join([header, *rows, ""]), encoding="iso-8859-1")
    assert values(checked, "precipitation_sum_mm") == {"2012-09-29T00:00": 0.0}
    assert values(checked, "temperature_min_c") == {
        "2012-09-29T00:00": -1.5,
        "2012-09-30T00:00": -1.5,
    }
    assert len(checked.tables["rejected"]) == 0


def test_daily_extremes_take_their_place_from_the_file_name(read: Reader) -> None:
    checked = read.checked(
        "fecha,maxima,minima\n1951-01-01,15.0,2.7\n", "aemet_daily_tmax_tmin_Sevilla_raw.csv"
    )
    assert set(checked.rows["place"]) == {"Sevilla"}
    assert values(checked, "temperature_min_c") == {"1951-01-01T00:00": 2.7}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2024-01-01T00:00:00,5.0", "not an instant with time zone"),
        ("2024-13-01T00:00:00Z,5.0", "not an instant with time zone"),
        ("9024-01-01T00:00:00Z,5.0", "not an instant with time zone"),
        ("2024-01-01T00:00:00Z,5.0.1", "not a number"),
        ("2024-01-01T00:00:00Z,inf", "not a number"),
        ("2024-01-01T00:00:00Z,nan", "not a number"),
        ("2024-01-01T00:00:00Z,99999", "outside -500 to 4000 EUR/MWh"),
        ("2024-01-01T00:00:30Z,5.0", "does not begin where a slot does"),
    ],
    ids=["naive", "no date", "year", "two points", "inf", "nan", "range", "off the grid"],
)
def test_what_cannot_be_is_rejected_with_its_line(read: Reader, line: str, reason: str) -> None:
    checked = read.checked(f"time_utc,spot_eur_mwh\n2024-01-01T02:00:00Z,1.0\n{line}\n")
    assert list(checked.rows["value"]) == [1.0]
    assert set(
        zip(checked.tables["rejected"]["line"], checked.tables["rejected"]["reason"], strict=True)
    ) == {(3, reason)}


def test_byte_order_mark_is_no_part_of_the_header(read: Reader) -> None:
    assert len(read.checked("\ufefftime_utc,spot_eur_mwh\n2024-01-01T00:00:00Z,1.0\n").rows) == 1


def test_a_line_that_is_cut_within_a_number_is_not_read(write: Writer, read: Reader) -> None:
    days = {date(2024, 3, day): "17,12" for day in (1, 2)}
    text = write.siar(days)
    whole = text.removesuffix("\r\n")
    assert len(read.checked(whole, encoding="utf-16-le").rows) == 18, "its last line is whole"
    cut = whole[: -len(";17,12" * 8) - 1]
    checked = read.checked(cut, encoding="utf-16-le")
    assert set(checked.rows["value"]) == {17.12}
    assert len(checked.rows) == 9
    assert list(checked.tables["rejected"]["reason"]) == ["has fewer values than columns"]


def test_an_office_table_without_a_value_loses_that_line_alone(read: Reader) -> None:
    lines = [f"02/03/2026;{hour};{hour},25" for hour in range(1, 25)]
    damaged = [*lines[:3], "02/03/2026;4", *lines[4:23], "02/03/2026;24"]
    checked = read.checked("\n".join(["Consumo de marzo", "Fecha;Hora;kWh", *damaged]))
    rejected = checked.tables["rejected"]
    assert dict(zip(rejected["line"], rejected["reason"], strict=True)) == dict.fromkeys(
        (6, 26), "has fewer values than columns"
    )
    assert len(rejected) == 2, "each for one reason alone"
    assert len(checked.rows) == 22


def test_file_that_ends_in_mid_line_is_noted(read: Reader) -> None:
    reading = read.reading("time_utc,spot_eur_mwh\n2024-01-01T00:00:00Z,1")
    assert any("may have been cut" in note for note in reading.notes)


@pytest.mark.parametrize(
    "text",
    [
        "dt_iso,city_name,temp,pressure\n",
        "time_utc,spot_eur_mwh\n1,2,3\n4,5,6,7\n",
        'time_utc,spot_eur_mwh\n1,"' + "2" * 200_000,
        '{"day": "x", "data": {}}',
    ],
    ids=["column absent", "ragged", "an endless cell", "no date"],
)
def test_broken_structure_is_a_typed_error(read: Reader, text: str) -> None:
    with pytest.raises(ImportFileError):
        read.reading(text)


def test_other_content_is_in_no_known_format() -> None:
    assert detect(Member("a", "a", b"# a text file")) is None
    assert detect(Member("a", "a", b"")) is None


def test_decimal_commas_are_refused_and_not_cut_off(read: Reader) -> None:
    text = "time_utc,spot_eur_mwh\n2024-03-01T00:00:00Z,48.5,\n2024-03-01T01:00:00Z,51,75\n"
    with pytest.raises(ImportFileError, match="3 values for 2 columns in line 3"):
        read.reading(text, "prices.csv")


@pytest.mark.parametrize("separator", range(1, 18))
def test_a_line_that_lost_a_separator_is_not_read(
    write: Writer, read: Reader, separator: int
) -> None:
    text = write.siar({date(2024, 3, day): "17,12" for day in (1, 2, 3)})
    heading, first, second, third = text.removesuffix("\r\n").split("\r\n")
    parts = second.split(";")
    parts[separator - 1 : separator + 1] = ["\x8f".join(parts[separator - 1 : separator + 1])]
    damaged = "\r\n".join([heading, first, ";".join(parts), third, ""])
    checked = read.checked(damaged, encoding="utf-16-le")
    assert len(checked.rows) == 18
    assert set(checked.rows["value"]) == {17.12}
    assert "has fewer values than columns" in set(checked.tables["rejected"]["reason"])


def test_columns_at_the_end_may_be_left_out_where_they_are_empty(read: Reader) -> None:
    lines = [f"2024-01-01T{hour:02}:00:00Z,{hour}.5" for hour in range(4)]
    text = "\n".join(["time_utc,spot_eur_mwh,remark", lines[0] + ",a holiday", *lines[1:], ""])
    assert list(read.checked(text).rows["value"]) == [0.5, 1.5, 2.5, 3.5]
