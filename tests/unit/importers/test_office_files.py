"""Files as an office sends them: read right, or refused with the sentence that helps."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import SITE
from factory_lib.clock import MADRID, day_bounds, slots_in_day
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers import files, import_path

DAY = date(2026, 3, 2)
SHORT = date(2026, 3, 29)
LONG = date(2025, 10, 26)
CUPS = "ES0031405678901234AB0F"
EVER = {"start": datetime(2015, 1, 1, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)}
Bring = Callable[..., Any]


@pytest.fixture
def bring(ctx: RunContext, tmp_path: Path) -> Bring:
    def imported(content: str | bytes, name: str = "datos.csv", encoding: str = "utf-8") -> Any:
        file = tmp_path / name
        file.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
        return import_path(ctx, file)

    return imported


def values(ctx: RunContext, series: str, place: str = SITE) -> dict[datetime, float]:
    rows = ctx.store.read(series, places=(place,), **EVER)
    return dict(zip(rows["start"], rows["value"], strict=True))


def energies(count: int) -> list[float]:
    return [10 + (n % 7) / 4 for n in range(count)]


def comma(value: float) -> str:
    return f"{value:.3f}".replace(".", ",")


def distributor(day: date, labels: Sequence[str], head: str = "CUPS;Fecha;Hora;Consumo_kWh") -> str:
    rows = zip(labels, energies(len(labels)), strict=True)
    lines = [f"{CUPS};{day:%d/%m/%Y};{label};{comma(value)}" for label, value in rows]
    return "\r\n".join([head, *lines, ""])


def expect_day(ctx: RunContext, day: date, step_s: int = 3600) -> None:
    """Expect one value in each slot of the day, in order."""
    name = "metered_quarter_kwh" if step_s == 900 else "metered_hour_kwh"
    stored = values(ctx, name)
    first = pd.Timestamp(day_bounds(day)[0])
    count = slots_in_day(day, step_s)
    assert list(stored) == [first + timedelta(seconds=step_s * n) for n in range(count)]
    assert list(stored.values()) == pytest.approx(energies(count))


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(1, count + 1)]


def workbook(rows: Sequence[Sequence[str | float]]) -> bytes:
    """Return the least that a spreadsheet program writes: one sheet of texts and numbers."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets>'
        '<sheet name="Consumos" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData>'
        "</worksheet>",
    }
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + text)
    return body.getvalue()


# -- meters ----------------------------------------------------------------------------


@pytest.mark.parametrize("day", [DAY, SHORT, LONG], ids=["a day", "23 hours", "25 hours"])
def test_a_distributors_hours_count_from_midnight(ctx: RunContext, bring: Bring, day: date) -> None:
    result = bring(distributor(day, numbers(slots_in_day(day, 3600))))
    expect_day(ctx, day)
    assert any("counted from local midnight" in note for note in result.notes)


@pytest.mark.parametrize("day", [DAY, SHORT, LONG], ids=["a day", "92 quarters", "100 quarters"])
def test_a_distributors_quarters(ctx: RunContext, bring: Bring, day: date) -> None:
    bring(
        distributor(day, numbers(slots_in_day(day, 900)), "CUPS;Fecha;Cuarto;Energía activa (kWh)")
    )
    expect_day(ctx, day, 900)


def test_datadis_times_end_their_hour(ctx: RunContext, bring: Bring) -> None:
    head = "cups;fecha;hora;consumo_kWh;metodoObtencion;energiaVertida_kWh"
    labels = [f"{n:02d}:00" for n in range(1, 25)]
    lines = distributor(DAY, labels, head).replace(f"{DAY:%d/%m/%Y}", f"{DAY:%Y/%m/%d}")
    result = bring(lines.replace("\r\n", ";Real;0\r\n").replace(f"{head};Real;0", head))
    expect_day(ctx, DAY)
    assert any("end their slot" in note for note in result.notes)


def test_times_of_a_table_that_end_in_24_00_are_not_an_hour_late(
    ctx: RunContext, bring: Bring
) -> None:
    times = [f"{DAY:%d/%m/%Y} {n:02d}:00" for n in range(1, 25)]
    rows = [f"{at}\t{comma(value)}" for at, value in zip(times, energies(24), strict=True)]
    bring("\n".join(["Fecha y hora\tConsumo (kWh)", *rows, ""]), encoding="utf-16")
    expect_day(ctx, DAY)


def test_skipped_labels_of_the_short_day(ctx: RunContext, bring: Bring) -> None:
    bring(distributor(SHORT, [label for label in numbers(24) if label != "3"]))
    expect_day(ctx, SHORT)


def test_a_workbook(ctx: RunContext, bring: Bring) -> None:
    head: list[str | float] = ["CUPS", "Fecha", "Hora", "Consumo_kWh"]
    rows: list[list[str | float]] = [["Curva de carga", "", "", ""], head]
    rows += [
        [CUPS, f"{DAY:%d/%m/%Y}", n, value]
        for n, value in zip(range(1, 25), energies(24), strict=True)
    ]
    bring(workbook(rows), "consumos.xlsx")
    expect_day(ctx, DAY)


def test_titles_windows_text_and_old_line_ends(ctx: RunContext, bring: Bring) -> None:
    text = f"Fábrica de Linares\r\nPeriodo: marzo\r\n\r\n{distributor(DAY, numbers(24))}"
    bring(text.replace("\r\n", "\r"), encoding="cp1252")
    expect_day(ctx, DAY)


def test_energies_in_wh_are_converted_where_the_heading_says_so(
    ctx: RunContext, bring: Bring
) -> None:
    lines = distributor(DAY, numbers(24), "CUPS;Fecha;Hora;Consumo Wh")
    for value in set(energies(24)):
        lines = lines.replace(f";{comma(value)}", f";{value * 1000:.0f}")
    assert any("converted" in note for note in bring(lines).notes)
    expect_day(ctx, DAY)


# -- prices and the system -------------------------------------------------------------


def test_a_year_of_omie_in_one_archive(ctx: RunContext, bring: Bring) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(4):
            day = date(2022, 5, 1) + timedelta(days=number)
            rows = [f"{day:%Y;%m;%d};{n};{90 + n};{100 + n};" for n in range(1, 25)]
            if number != 2:
                text = "\r\n".join(["MARGINALPDBC;", *rows, "*", ""])
                archive.writestr(f"marginalpdbc_{day:%Y%m%d}.1", text)
    result = bring(body.getvalue(), "marginalpdbc_2022.zip")
    assert result.metrics["new"] == 72
    assert result.metrics["missing_days"] == 1, "a single day lacks among the files"


def test_an_export_of_esios(ctx: RunContext, bring: Bring) -> None:
    rows = []
    for hour in range(24):
        at = f"2026-03-02T{hour:02d}:00:00+01:00"
        rows += [f"1775;Prev. demanda;8741;Península;{25000 + hour};{at}"]
        rows += [f"1001;PVPC;{geo};x;{100 + hour + geo % 10},5;{at}" for geo in (8742, 8741)]
        rows += [f"612;Intradiario;3;España;9;{at}"]
    text = "\n".join(["id;name;geoid;geoname;value;datetime", *rows, ""])
    result = bring(text, "export.csv", "utf-8-sig")
    assert list(values(ctx, "pvpc_eur_mwh", "ES").values()) == [101.5 + n for n in range(24)]
    assert list(values(ctx, "es_load_forecast_mw", "ES").values()) == [
        25000.0 + n for n in range(24)
    ]
    assert any("612" in note for note in result.notes)


def entsoe(rows: Sequence[str], heads: Sequence[str]) -> str:
    return "\n".join([",".join(f'"{head}"' for head in heads), *rows, ""])


def test_an_export_of_entsoe_with_the_repeated_hour(ctx: RunContext, bring: Bring) -> None:
    clocks = [0, 1, 2, 2, *range(3, 24)]
    rows = [
        f'"26.10.2025 {hour:02d}:00 - 26.10.2025 {(hour + 1) % 24:02d}:00","{50000 + n}","n/e"'
        for n, hour in enumerate(clocks)
    ]
    heads = [
        "Time (CET/CEST)",
        "Day-ahead Total Load Forecast [MW] - BZN|FR",
        "Actual Total Load [MW] - BZN|FR",
    ]
    bring(entsoe(rows, heads))
    assert list(values(ctx, "fr_load_forecast_mw", "FR").values()) == [
        50000.0 + n for n in range(25)
    ]


def test_an_export_of_entsoe_in_quarters(ctx: RunContext, bring: Bring) -> None:
    times = [f"02/03/2026 {n // 4:02d}:{n % 4 * 15:02d}:00" for n in range(96)]
    rows = [f'"{at} - {at}","{n}","{2 * n}"' for n, at in enumerate(times)]
    heads = [
        "MTU (CET/CEST)",
        "Generation - Solar [MW] Day Ahead/ BZN|PT",
        "Generation - Wind Onshore [MW] Day Ahead/ BZN|PT",
    ]
    times = [f"03/03/2026 {hour:02d}:00:00" for hour in range(24)]
    rows += [f'"{at} - {at}","{hour}","{hour}"' for hour, at in enumerate(times)]
    result = bring(entsoe(rows, heads))
    wind = list(values(ctx, "pt_wind_forecast_mw", "PT").values())
    assert wind[:2] == [3.0, 11.0]
    assert wind[24:] == [float(hour) for hour in range(24)], "a day in hours stays one"
    assert any("means of hours" in note for note in result.notes)


def test_an_answer_of_redata(ctx: RunContext, bring: Bring) -> None:
    start = day_bounds(DAY)[0]
    times = [(start + timedelta(minutes=15 * n)).astimezone(MADRID).isoformat() for n in range(96)]
    entries = [{"value": n, "datetime": at, "new": 1} for n, at in enumerate(times)]
    hours = [{"value": 7, "datetime": at} for at in times[::4]]
    included = [
        {"id": "600", "attributes": {"values": entries}},
        {"id": "1001", "attributes": {"values": hours}},
    ]
    bring(json.dumps({"data": {}, "included": included}), "redata.json")
    assert len(values(ctx, "spot_eur_mwh", "ES")) == 96
    assert len(values(ctx, "pvpc_eur_mwh", "ES")) == 24


def test_documents_of_aemet(ctx: RunContext, bring: Bring) -> None:
    daily = [
        {"fecha": f"2026-03-0{n}", "indicativo": place, "tmax": "20,5", "prec": "Ip", "nuevo": 1}
        for place in ("5279X", "5298X")
        for n in (1, 2)
    ]
    bring(json.dumps(daily), "aemet.json")
    assert list(values(ctx, "temperature_max_c", "5279X").values()) == [20.5, 20.5]
    hourly = [
        {"idema": "5279X", "fint": f"2026-03-02T{n:02d}:00:00+0000", "ta": 9.0} for n in range(5)
    ]
    result = bring(json.dumps(hourly), "observaciones.json", "iso-8859-1")
    assert len(values(ctx, "temperature_c", "5279X")) == 5
    assert any("ends the hour" in note for note in result.notes)


def test_a_table_of_prices_by_hour(ctx: RunContext, bring: Bring) -> None:
    rows = [f"02/03/2025;{n};{comma(50 + n)}" for n in range(1, 25)]
    bring("\n".join(["Fecha;Hora;Precio (€/MWh)", *rows, ""]))
    assert list(values(ctx, "spot_eur_mwh", "ES").values()) == [51.0 + n for n in range(24)]


def test_a_table_of_prices_keeps_the_digits_of_another_unit(ctx: RunContext, bring: Bring) -> None:
    rows = [f"02/03/2025;{n};{comma(0.1)}4567{n % 10}" for n in range(1, 25)]
    bring("\n".join(["Fecha;Hora;Precio (€/kWh)", *rows, ""]))
    expected = [100.4567 + n % 10 / 1e5 for n in range(1, 25)]
    assert list(values(ctx, "spot_eur_mwh", "ES").values()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("head", "area"), [("Precio (€/MWh)", "ES"), ("Day-ahead Price (EUR/MWh) BZN|ES", "ES")]
)
def test_prices_of_hours_and_of_the_quarters_that_followed(
    ctx: RunContext, bring: Bring, head: str, area: str
) -> None:
    hours = pd.date_range("2025-09-29T22:00Z", "2025-09-30T21:00Z", freq="h")
    quarters = pd.date_range("2025-09-30T22:00Z", "2025-10-01T21:45Z", freq="15min")
    times = hours.append(quarters)
    rows = [f"{at:%Y-%m-%d %H:%M}Z;{50 + n}" for n, at in enumerate(times)]
    result = bring("\n".join([f"time_utc;{head}", *rows, ""]))
    assert result.metrics["rejected"] == 0
    assert list(values(ctx, "spot_eur_mwh", area).values()) == [50.0 + n for n in range(24 + 96)]


def test_production_with_spanish_headings(ctx: RunContext, bring: Bring) -> None:
    bring("Fecha;Lote;Producto;kg\n02/03/2026;1;standard;200,5\n02/03/2026;2;premium;100\n")
    assert list(values(ctx, "produced_kg").values()) == [300.5]


# -- what is refused, and the sentence that helps --------------------------------------


def register() -> str:
    rows = [f"2026-03-{1 + n // 24:02d} {n % 24:02d}:00,{90000 + 12 * n}" for n in range(72)]
    return "\n".join(["time_local,energy_kwh", *rows, ""])


def two_meters() -> str:
    other = distributor(DAY, numbers(12)).replace("AB0F", "ZZ0F")
    return distributor(DAY, numbers(12)) + other.partition("\r\n")[2]


def months_first() -> str:
    days = [date(2026, 3, 1) + timedelta(days=n) for n in range(10)]
    rows = [f"{day:%m/%d/%Y};{n};1,5" for day in days for n in range(1, 25)]
    return "\n".join(["Fecha;Hora;Consumo_kWh", *rows, ""])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("nombre;apellido\nAna;Ruiz\n", "A table needs columns such as", id="people"),
        pytest.param(register(), "running register", id="a register"),
        pytest.param(two_meters(), r"2 meters \(CUPS\)", id="two meters"),
        pytest.param(months_first(), "day and month exchanged", id="months first"),
        pytest.param(
            distributor(DAY, [f"{n:02d}:00" for n in range(1, 23)]),
            "neither 00:00 nor 24:00",
            id="unclear times",
        ),
        pytest.param(
            "id;name;geoid;geoname;value;datetime\n9;x;1;y;2;2026-03-02T00:00:00+01:00\n",
            "Read are 1001",
            id="another indicator",
        ),
        pytest.param('[{"idema": 5, "fint": "x"}]', "no list of records", id="no stations"),
        pytest.param("PK\x03\x04nothing", "cut or damaged", id="a cut archive"),
    ],
)
def test_what_cannot_be_read_is_told_what_is_wanted(
    ctx: RunContext, bring: Bring, text: str, sentence: str
) -> None:
    with pytest.raises(ImportFileError, match=sentence):
        bring(text)
    assert ctx.store.inventory().empty


@pytest.mark.parametrize("method", ["gz", "xz"])
def test_an_archive_that_was_damaged_is_refused_by_name(bring: Bring, method: str) -> None:
    content = np.random.default_rng(0).bytes(100_000)
    body = io.BytesIO()
    with tarfile.open(None, f"w:{method}", body) as packed:  # type: ignore[call-overload]
        for name in ("one.csv", "two.csv"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content[::-1]))
    damaged = bytearray(body.getvalue())
    damaged[50_000:50_100] = bytes(100)
    with pytest.raises(ImportFileError, match="cut or damaged"):
        bring(bytes(damaged), "datos.bin")


def test_a_clock_change_with_too_few_lines_costs_that_day_alone(
    ctx: RunContext, bring: Bring
) -> None:
    before = distributor(LONG - timedelta(days=1), numbers(24))
    result = bring(before + distributor(LONG, numbers(24)).partition("\r\n")[2])
    expect_day(ctx, LONG - timedelta(days=1))
    assert "24 of 25 slots are there" in result["rejected"]["reason"].iloc[0]


def test_a_meter_in_wh_without_saying_so_is_refused(ctx: RunContext, bring: Bring) -> None:
    times = [f"2026-03-02 {n:02d}:00,{30000 + n % 5}" for n in range(24)]
    result = bring("\n".join(["time_local,energy_kwh", *times, ""]))
    assert result.status == "fail"
    assert result["rejected"]["reason"].str.endswith("may be in Wh").all()


# -- defects of a whole file -----------------------------------------------------------


def year() -> pd.DatetimeIndex:
    return pd.date_range("2024-12-31T23:00Z", "2025-09-30T21:00Z", freq="h")


def wind() -> pd.Series:
    noise = np.random.default_rng(3).normal(0, 60, len(year())).cumsum()
    return pd.Series(9000 + noise - noise.min(), year()).round(1)


def table(head: str, column: pd.Series) -> str:
    rows = [f"{at:%Y-%m-%dT%H:%M:%SZ},{value}" for at, value in column.items()]
    return "\n".join([head, *rows, ""])


def test_wind_in_the_solar_column_is_refused(bring: Bring) -> None:
    head = "time_utc,es_load_forecast_mw,es_solar_forecast_mw"
    rows = [f"{at:%Y-%m-%dT%H:%M:%SZ},25000,{value}" for at, value in wind().items()]
    result = bring("\n".join([head, *rows, ""]))
    assert result["rejected"]["series"].unique().tolist() == ["es_solar_forecast_mw"]
    assert "it is not solar" in result["rejected"]["reason"].iloc[0]


@pytest.mark.parametrize("exchanged", [True, False])
def test_exchanged_day_and_month_show_at_midnight(bring: Bring, exchanged: bool) -> None:
    column = wind() / 100
    if exchanged:
        local = column.index.tz_convert(MADRID).tz_localize(None)
        swapped = [at.replace(day=at.month, month=at.day) if at.day < 10 else at for at in local]
        column.index = pd.DatetimeIndex(swapped)
        column = column[~column.index.duplicated()].sort_index()
        column.index = column.index.tz_localize(MADRID, ambiguous="NaT", nonexistent="NaT")
        column = column[column.index.notna()].tz_convert("UTC")
    result = bring(table("time_utc,spot_eur_mwh", column.round(2)))
    assert result["rejected"]["reason"].str.endswith("day and month exchanged").all()
    assert (len(result["rejected"]) > 0) == exchanged
    assert (result.status == "fail") == exchanged


def test_an_october_hour_without_its_twin_is_refused(ctx: RunContext, bring: Bring) -> None:
    start = day_bounds(date(2024, 10, 27))[0]
    times = pd.date_range(start, periods=25, freq="h").delete(3)
    column = pd.Series(80.0, times)
    column.iloc[2] = 161.0
    result = bring(table("time_utc,spot_eur_mwh", column))
    assert result["rejected"]["reason"].tolist() == [
        "the repeated hour is there once, 2.0 times the hours around"
    ]
    assert len(values(ctx, "spot_eur_mwh", "ES")) == 23


def test_the_first_24_of_96_quarters_are_an_incomplete_day(bring: Bring) -> None:
    rows = [f"{DAY:%d/%m/%Y};{n};{comma(50 + n)}" for n in range(1, 25)]
    result = bring("\n".join(["Fecha;Hora;Precio (€/MWh)", *rows, ""]))
    assert set(result["rejected"]["reason"]) == {"not the resolution of that time"}


def test_a_dry_run_shows_what_would_be_stored(ctx: RunContext, tmp_path: Path) -> None:
    file = tmp_path / "curva.csv"
    file.write_text(distributor(DAY, numbers(24)), encoding="utf-8")
    result = import_path(ctx, file, dry_run=True)
    assert "nothing was stored" in result.summary
    assert result["preview"]["values"].tolist() == [24]
    assert result["members"]["state"].tolist() == ["would be stored"]
    assert ctx.store.inventory().empty
    assert import_path(ctx, file).metrics["new"] == 24


@pytest.mark.parametrize("end", ["x" * 200_000 + "\n", '"' + f"{CUPS};1;1;1\n" * 9_000])
def test_a_line_without_end_or_an_open_quote_costs_its_file(bring: Bring, end: str) -> None:
    table = distributor(DAY, [str(hour) for hour in range(1, 25)])
    with pytest.raises(ImportFileError, match="is no table"):
        bring(table + end)


def test_what_unpacks_to_more_than_any_file_is_refused(
    bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_UNPACKED", 1_000)
    table = distributor(DAY, [str(hour) for hour in range(1, 25)]).encode()
    folders = {"zip": io.BytesIO(), "tar": io.BytesIO()}
    with zipfile.ZipFile(folders["zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("datos.csv", table * 2)
    with tarfile.open(fileobj=folders["tar"], mode="w:xz") as packed:
        entry = tarfile.TarInfo("datos.csv")
        entry.size = len(table * 2)
        packed.addfile(entry, io.BytesIO(table * 2))
    for content in (gzip.compress(table * 2), *(each.getvalue() for each in folders.values())):
        with pytest.raises(ImportFileError, match="when unpacked"):
            bring(content, "datos.bin")
