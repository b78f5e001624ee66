"""Files that a disk, a program or a person spoilt: read, or refused by name, never a traceback."""

from __future__ import annotations

import io
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import MADRID
from factory_lib.errors import ImportFileError
from factory_lib.importers.check import check
from factory_lib.importers.files import Member, members
from factory_lib.importers.formats import FORMATS
from factory_lib.settings.records import QualitySettings
from tests.conftest import NOW
from tests.unit.importers.test_planted_defects import WRITTEN, is_hourly

ODD = ("", "NaN", "1e400", "0000-00-00", "9999-12-31", "24:00", '"', "\0", "null", "1.2.3", "]")


def files() -> list[tuple[str, Member]]:
    """Return a file of every format and series, of three days."""
    written = []
    for fmt, way in WRITTEN.items():
        for series, write in way.writers.items():
            step, count = ("h", 72) if is_hourly(series) else ("D", 3)
            index = pd.date_range("2024-10-26", periods=count, freq=step, tz=MADRID)
            values = pd.Series(np.arange(count) + 20.0, index.tz_convert("UTC"))
            for name, text in write(values, False).items():
                written.append((fmt, Member(name, name, text.encode())))
    return written


def require_answer(fmt: str, text: str) -> None:
    """Expect that a text is read and checked, or refused as a file."""
    with suppress(ImportFileError):
        reading = FORMATS[fmt].read(Member("odd", "odd", text.encode()))
        check(reading, FORMATS[fmt], NOW, QualitySettings(), default_catalogue())


@settings(deadline=None)
@given(file=st.sampled_from(files()), share=st.floats(0, 1), odd=st.sampled_from(ODD))
def test_a_cut_file_with_an_odd_end_is_an_answer(
    file: tuple[str, Member], share: float, odd: str
) -> None:
    fmt, member = file
    require_answer(fmt, member.text[: int(share * len(member.text))] + odd)


@settings(deadline=None)
@given(file=st.sampled_from(files()), share=st.floats(0, 1), odd=st.sampled_from(ODD))
def test_an_odd_text_within_is_an_answer(file: tuple[str, Member], share: float, odd: str) -> None:
    fmt, member = file
    place = int(share * len(member.text))
    require_answer(fmt, member.text[:place] + odd + member.text[place + 3 :])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"day": "2024-10-26", "data": ' + "[" * 100_000, id="deep"),
        pytest.param("id;name;geoid;geoname;value;datetime\n600;spot;3;Spain;5", id="cut line"),
        pytest.param("id;name;geo;geoname;value;datetime\n600;spot;3;Spain;5;x\n", id="no geoid"),
        pytest.param("time_utc,other\n2026-03-02T00:00Z,1\n", id="no series"),
        pytest.param("time_utc,es_load_forecast_mw_x\n2026-03-02T00:00Z,1\n", id="like a series"),
    ],
)
def test_a_file_of_another_kind_is_an_answer(fmt: str, text: str) -> None:
    require_answer(fmt, text)


def archives() -> dict[str, bytes]:
    """Return an archive of each kind, with two files."""
    written = {}
    for method in ("", "gz", "bz2", "xz"):
        body = io.BytesIO()
        with tarfile.open(None, f"w:{method}", body) as packed:  # type: ignore[call-overload]
            for name in ("one.csv", "two.csv"):
                entry = tarfile.TarInfo(name)
                entry.size = len(name)
                packed.addfile(entry, io.BytesIO(name.encode()))
        written[f"tar {method}"] = body.getvalue()
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", kind) as archive:
            for name in ("one.csv", "two.csv"):
                archive.writestr(name, name)
        written[f"zip {kind}"] = body.getvalue()
    return written


@pytest.mark.parametrize("content", archives().values(), ids=archives())
def test_an_archive_with_any_byte_spoilt_is_an_answer(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd"
    for place in range(min(len(content), 600)):
        file.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        with suppress(ImportFileError):
            assert all(isinstance(member.text, str) for member in members(file))
