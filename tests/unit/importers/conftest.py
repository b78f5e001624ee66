"""Small files in the providers' own formats."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.importers.check import CheckedReading, check
from factory_lib.importers.files import Member
from factory_lib.importers.formats import FORMATS, detect
from factory_lib.importers.reading import Format, Reading
from factory_lib.settings.records import QualitySettings

NOW = datetime.fromisoformat("2026-04-15T10:00Z")
RULES = QualitySettings()
SIAR_HEADER = (
    "IdProvincia;IdEstacion;Fecha;Año;Dia;Temp Media (ºC);Temp Max (ºC);Hora Temp Max;"
    "Temp Mínima (ºC);"
    "Hora Temp Min;"
    "Humedad Media (%);Humedad Max (%);Hora Hum Max;Humedad Min (%);Hora Hum Mín;"
    "Velviento (m/s);DirViento (º);"
    "VelVientoMax (m/s);Hora VelMax;Dir viento Vel Max (º);Radiación (MJ/m2);"
    "Precipitación (mm);PePMon;EtPMon"
)


class Writer:
    """Writes values down as a provider would."""

    def omie(self, day: date, prices: Sequence[float]) -> str:
        """A daily file of the market operator; Portugal's column is 1 EUR above Spain's."""
        rows = [
            f"{day:%Y;%m;%d};{n};{price + 1};{price};" for n, price in enumerate(prices, start=1)
        ]
        return "\r\n".join(["MARGINALPDBC;", *rows, "*", ""])

    def siar(self, days: Mapping[date, str], station: int = 9) -> str:
        """A website export in which every value of a day is the given text."""
        rows = [
            f"23;{station};{day:%d/%m/%Y};{day.year};{day:%j};" + ";".join([v] * 19)
            for day, v in days.items()
        ]
        return "\r\n".join([SIAR_HEADER, *rows, ""])

    def spot(self, start: str, prices: Sequence[float], *, minutes: int = 60, src: str = "") -> str:
        """A table of market prices by UTC instant."""
        times = [
            datetime.fromisoformat(start) + timedelta(minutes=minutes * n)
            for n in range(len(prices))
        ]
        source = f",{src}" if src else ""
        rows = [
            f"{time:%Y-%m-%dT%H:%M:%SZ},{price}{source}"
            for time, price in zip(times, prices, strict=True)
        ]
        return "\n".join(["time_utc,spot_eur_mwh" + (",src" if src else ""), *rows, ""])

    def tar_gz(self, file: Path, entries: Mapping[str, str]) -> Path:
        """An archive of text files."""
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as archive:
            for name, text in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
        file.write_bytes(gzip.compress(body.getvalue()))
        return file


class Reader:
    """Reads text in the format that its beginning shows."""

    def reading(self, text: str, name: str = "file.csv", encoding: str = "utf-8") -> Reading:
        """Read one member."""
        return self.formatted(text, name, encoding)[0]

    def formatted(self, text: str, name: str, encoding: str) -> tuple[Reading, Format]:
        """Read one member, and return its format as well."""
        member = Member(name, name, text.encode(encoding))
        format_name = detect(member)
        assert format_name, "no format was recognised"
        fmt = FORMATS[format_name]
        return fmt.read(member), fmt

    def checked(
        self,
        text: str,
        name: str = "file.csv",
        encoding: str = "utf-8",
        rules: QualitySettings = RULES,
    ) -> CheckedReading:
        """Read and check one member; every value is accounted for."""
        reading, fmt = self.formatted(text, name, encoding)
        done = check(reading, fmt, NOW, rules, default_catalogue())
        unstored = len(done.tables["rejected"]) + done.counts["repeated_values"]
        assert done.counts["values_read"] == len(done.rows) + unstored
        return done


@pytest.fixture
def write() -> Writer:
    """Write files as the providers do."""
    return Writer()


@pytest.fixture
def read() -> Reader:
    """Read files as the importer does."""
    return Reader()
