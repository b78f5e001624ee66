"""SIAR's API, and the datosclima drop folder."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from factory_lib import sources
from factory_lib.errors import (
    AuthError,
    BadRange,
    ImportFileError,
    MalformedResponse,
    NoDataYet,
    QuotaError,
)
from factory_lib.http import Reply
from factory_lib.settings import Settings
from factory_lib.sources import datosclima, siar
from factory_lib.sources.base import Source
from factory_lib.state import open_state
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


# -- API -------------------------------------------------------------------------------


def record(fecha: str, **values: Any) -> dict[str, Any]:
    return {
        "Fecha": fecha,
        "Estacion": "J17",
        "IdProvincia": 23,
        "IdEstacion": 17,
        "TempMedia": 11.2,
        **values,
    }


def answer(*records: dict[str, Any], message: str | None = None) -> bytes:
    return json.dumps({"datos": list(records), "MensajeRespuesta": message}).encode()


def test_local_midnights_printed_as_utc_are_the_day_that_begins_then() -> None:
    body = answer(
        record("2026-01-01T23:00:00"),
        record("2026-06-30T22:00:00", humedadMin=20),
        record("2026-07-02T00:00:00", HumedadMin=21),
    )
    rows = siar.parse_api(body, "J17", NOW).rows
    days = [
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 7, 1, tzinfo=UTC),
        datetime(2026, 7, 2, tzinfo=UTC),
    ]
    assert rows.query("series == 'temperature_mean_c'")["start"].tolist() == days
    assert rows.query("series == 'humidity_min_pct'")["value"].tolist() == [20.0, 21.0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer(message="No se han encontrado datos."), id="a message under 200"),
        pytest.param(answer(record("2026-01-01T12:00:00")), id="noon"),
        pytest.param(
            answer(record("2026-01-01T23:00:00"), record("2026-01-01T23:00:00")), id="twice"
        ),
        pytest.param(
            answer(record("2026-01-01T23:00:00") | {"Estacion": "J09"}), id="another station"
        ),
        pytest.param(b'{"datos": null}', id="no list"),
    ],
)
def test_another_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        siar.parse_api(body, "J17", NOW)


@pytest.mark.parametrize(
    ("said", "error", "seconds"),
    [
        pytest.param("El token no es válido", AuthError, None, id="token"),
        pytest.param("anterior a la Fecha Mínima de su token", BadRange, None, id="too far back"),
        pytest.param("número de peticiones permitidas en un minuto", QuotaError, 65, id="minute"),
        pytest.param(
            "rebasaría el número máximo de datos permitidos en un día",
            QuotaError,
            14 * 3600,
            id="day",
        ),
    ],
)
def test_the_words_of_a_403_tell_what_it_is(said: str, error: type, seconds: float | None) -> None:
    found = siar.classify_response(
        Reply(403, {}, json.dumps({"MensajeRespuesta": said}).encode()), NOW
    )
    assert isinstance(found, error)
    assert found.retry_after_s == seconds


# -- datosclima ------------------------------------------------------------------------


def workbook(rows: list[list[str]]) -> bytes:
    """Return the smallest spreadsheet that holds ``rows`` as text."""
    cells = "".join(
        f'<row r="{n}">'
        + "".join(
            f'<c r="{"ABCDE"[m]}{n}" t="inlineStr"><is><t>{cell}</t></is></c>'
            for m, cell in enumerate(row)
        )
        + "</row>"
        for n, row in enumerate(rows, 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        '<Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        '<Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData>'
        "</worksheet>",
    }
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


TABLE = [
    *[["datosclima.es", "", "", "", ""]] * 4,
    [
        "Estación",
        "Provincia",
        "Temperatura máxima (ºC)",
        "Temperatura media (ºC)",
        "Precipitación 00-24h (mm)",
    ],
    ["Andújar", "Jaén", "33.0 (15:10)", "20.0", "0"],
    ["Linares", "Jaén", "31.2 (15:40)", "19.5", "0.4"],
]


def test_a_table_gives_the_stations_row() -> None:
    found = datosclima.station_row(workbook(TABLE), "Linares", "Aemet2026-04-01.xls")
    assert datosclima.leading_number(found["Temperatura máxima"]) == 31.2
    assert datosclima.leading_number(found["Precipitación 00-24h"]) == 0.4
    assert datosclima.station_row(workbook(TABLE), "Baeza", "x.xls") == {}


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"no spreadsheet", id="bytes"), pytest.param(workbook(TABLE[4:]), id="rows")],
)
def test_a_corrupt_table_is_named(content: bytes) -> None:
    with pytest.raises(ImportFileError, match=r"x\.xls"):
        datosclima.station_row(content, "Linares", "x.xls")


def test_only_tables_with_a_day_in_their_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "Aemet2026-04-01.xls").write_bytes(b"table")
    (tmp_path / "notes.txt").write_text("hello")
    assert [list(datosclima.tables(file)) for file in sorted(tmp_path.iterdir())] == [
        [(date(2026, 4, 1), b"table")],
        [],
    ]


def test_an_archive_nothing_can_open_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Aemet2026-04.rar"
    file.write_bytes(b"Rar!")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportFileError, match="bsdtar"):
        list(datosclima.tables(file))


@pytest.fixture
def drop_folder(settings: Settings) -> Path:
    folder = settings.paths.data / datosclima.FOLDER
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def reader(settings: Settings) -> Iterator[Source]:
    enabled = {
        **settings.sources,
        "datosclima": structs.replace(settings.sources["datosclima"], enabled=True),
    }
    state = open_state(settings)
    yield sources.open_source(
        "datosclima", structs.replace(settings, sources=enabled), state, SimulatedClock(NOW)
    )
    state.close()


def test_the_drop_folder_is_read_and_a_corrupt_table_loses_only_itself(
    drop_folder: Path, reader: Source
) -> None:
    (drop_folder / "Aemet2026-04-01.xls").write_bytes(workbook(TABLE))
    (drop_folder / "Aemet2026-04-02.xls").write_bytes(b"corrupt")
    rows = reader.fetch(
        ["temperature_max_c", "precipitation_sum_mm"],
        "5279X",
        datetime(2026, 4, 1, tzinfo=UTC),
        NOW,
    )
    assert rows.set_index("series")["value"].to_dict() == {
        "temperature_max_c": 31.2,
        "precipitation_sum_mm": 0.4,
    }
    assert set(rows["start"]) == {datetime(2026, 4, 1, tzinfo=UTC)}
    assert ["Aemet2026-04-02.xls" in row.text for row in reader.rejected] == [True]


def test_an_empty_drop_folder_is_no_data(reader: Source) -> None:
    with pytest.raises(NoDataYet, match="datosclima"):
        reader.fetch(["temperature_max_c"], "5279X", datetime(2026, 4, 1, tzinfo=UTC), NOW)


@pytest.mark.skipif(not shutil.which("bsdtar"), reason="no bsdtar on this machine")
def test_an_archive_is_opened_by_what_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "Aemet2026-04.rar"
    with zipfile.ZipFile(file, "w") as archive:  # bsdtar looks at the content, not at the name
        archive.writestr("Aemet2026-04-01.xls", b"table")
    assert list(datosclima.tables(file)) == [(date(2026, 4, 1), b"table")]
