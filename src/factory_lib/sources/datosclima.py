"""datosclima.es, experimental: monthly archives of daily tables from the drop folder.

The site republishes AEMET and never had an interface or CSV: ``AemetYYYY-MM.rar`` holds
one ``AemetYYYY-MM-DD.xls`` per day, stations by name, header in the fifth row. Nothing
is downloaded: a person puts the archives there. No real file has been read yet.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from factory_lib.catalogue import Kind
from factory_lib.errors import ImportFileError, NoDataYet
from factory_lib.sources.aemet import Aemet
from factory_lib.sources.base import Source
from factory_lib.sources.parsing import Parsed, RowCollector

FOLDER = "datosclima"
HEADER_ROW = 4
_COLUMNS: Mapping[str, str] = {
    "temperature_mean_c": "Temperatura media",
    "temperature_max_c": "Temperatura máxima",
    "temperature_min_c": "Temperatura mínima",
    "precipitation_sum_mm": "Precipitación 00-24h",
}
EXTRACTORS = (
    ("bsdtar", "-xf", "{archive}", "-C", "{folder}"),
    ("unar", "-q", "-o", "{folder}", "{archive}"),
)
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})\.xlsx?$", re.IGNORECASE)
_LEADING_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:\(.*\))?\s*")


class Datosclima(Source):
    """Daily values of the site's station from ``data/<profile>/datosclima/``."""

    place_pattern = Aemet.place_pattern
    since = datetime(2013, 5, 1, tzinfo=UTC)

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Read whatever the drop folder holds of the window."""
        folder = self.settings.paths.data / FOLDER
        rows = RowCollector(self.name, place, Kind.OBSERVED, self.clock.now())
        days: dict[date, dict[str, str]] = {}
        for file in sorted(folder.glob("*")):
            try:
                for day, content in tables(file):
                    if start.date() <= day <= end.date():
                        days[day] = station_row(content, self.settings.site.name, str(file))
            except ImportFileError as error:
                rows.reject(str(file), error.problem)
        if not days:
            raise NoDataYet(self.name, f"no readable archive of that time in {folder}")
        for name, column in _COLUMNS.items():
            cells = {day: row.get(column, "") for day, row in days.items()}
            rows.add_days(name, cells, leading_number)
        return rows.parsed()


def tables(file: Path) -> Iterator[tuple[date, bytes]]:
    """Yield day and content of each daily table in an archive, or of an extracted table.

    Raises
    ------
    ImportFileError
        If no program that can read RAR archives is installed, or none can read this
        one.
    """
    if file.suffix.lower() == ".rar":
        with tempfile.TemporaryDirectory() as folder:
            _extract(file, folder)
            for inner in sorted(Path(folder).rglob("*.xls*")):
                yield from tables(inner)
    elif match := _DAY.search(file.name):
        yield date(*map(int, match.groups())), file.read_bytes()


def _extract(archive: Path, folder: str) -> None:
    for command in EXTRACTORS:
        words = [word.format(archive=archive, folder=folder) for word in command]
        if shutil.which(command[0]) and not subprocess.run(words, capture_output=True).returncode:
            return
    raise ImportFileError(
        str(archive),
        "no installed program can open it",
        next_step="Install bsdtar (libarchive) or unar.",
    )


def station_row(content: bytes, station: str, file: str) -> dict[str, str]:
    """Return the row of a station, by the beginning of its name, as text by column without unit.

    Raises
    ------
    ImportFileError
        If it is no such table; some are corrupt.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        rows: list[list[Any]] = (
            CalamineWorkbook.from_filelike(BytesIO(content)).get_sheet_by_index(0).to_python()
        )
    except CalamineError as error:
        raise ImportFileError(file, f"no spreadsheet: {error}") from error
    if len(rows) <= HEADER_ROW or not str(rows[HEADER_ROW][0]).startswith("Estaci"):
        raise ImportFileError(file, "no header in its fifth row")
    names = [re.sub(r"\s*\(.*\)", "", str(cell)).strip() for cell in rows[HEADER_ROW]]
    for row in rows[HEADER_ROW + 1 :]:
        if str(row[0]).casefold().startswith(station.casefold()):
            return dict(zip(names, map(str, row), strict=True))
    return {}


def leading_number(text: str) -> float:
    """Return the number of a cell such as ``31.2 (15:40)``; empty is NaN.

    Raises
    ------
    ValueError
        If it does not begin with one.
    """
    if not text.strip():
        return float("nan")
    match = _LEADING_NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} does not begin with a number")
    return float(match[1])
