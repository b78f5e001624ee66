"""Members of a path: plain files, workbooks, gzip, zip, tar and folders, none unpacked to disk."""

import csv
import gzip
import hashlib
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from itertools import chain
from pathlib import Path

from factory_lib.errors import ImportFileError

# Unpacked, of one file: ten years of quarters in a wide table have a tenth of it.
MOST_UNPACKED = 200_000_000
DAMAGE = (
    OSError,
    EOFError,
    ValueError,  # places outside of a zip archive
    NotImplementedError,  # a version that no zip archive has
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Member:
    """One readable piece: a file, or one entry of an archive.

    Attributes
    ----------
    file : str
        Name of the file it came in, with the folders below the one that was named.
    name : str
        Its own name, without folders and ``.gz``.
    data : bytes
        Its content, decompressed: what the ledger knows it by.
    """

    file: str
    name: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The content's digest."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def text(self) -> str:
        """The content as text."""
        return decoded(self.data)

    @property
    def label(self) -> str:
        """Name as a person would look for it."""
        file = Path(self.file)
        whole = file.name in (self.name, f"{self.name}.gz")
        return str(file.with_name(self.name)) if whole else f"{self.file}: {self.name}"


def decoded(data: bytes) -> str:
    """Return the text of a file by its byte-order mark, its zeros, else UTF-8 or Windows-1252."""
    for mark, encoding in (
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
        (b"\xef", "utf-8-sig"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if data[1:2] == b"\0":
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def members(path: Path) -> list[Member]:
    """Return every member of a file, an archive or a folder, by name; hidden files are left out.

    Raises
    ------
    ImportFileError
        If there is nothing, or a file is cut or damaged.
    """
    top = path if path.is_dir() else path.parent
    files = _visible(path) if path.is_dir() else [path]
    opened = [_open(file, printable(str(file.relative_to(top)))) for file in files]
    read = list(chain.from_iterable(opened))
    if not read:
        raise ImportFileError(
            str(path),
            "holds no file",
            next_step="Name a data file, an archive or a folder of them.",
        )
    return read


def printable(text: str) -> str:
    """Return text with a question mark for every byte of a file's name that is not UTF-8."""
    return text.encode(errors="replace").decode()


def _visible(folder: Path) -> list[Path]:
    """Return the files in a folder and below; names that begin with a dot are left out."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if "/." not in f"/{file.relative_to(folder).as_posix()}")


def _open(file: Path, label: str) -> Iterator[Member]:
    try:
        data = _content(file)
        if data[:2] == _GZIP:
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MOST_UNPACKED + 1)
            _require_size(file, len(data))
        if data[:4] == _ZIP:
            yield from _open_zip(file, label, data)
            return
        if not tarfile.is_tarfile(io.BytesIO(data)):
            yield Member(label, printable(file.name).removesuffix(".gz"), data)
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            entries = sorted(archive.getmembers(), key=lambda entry: entry.name)
            _require_size(file, sum(entry.size for entry in entries))
            for entry in entries:
                content = archive.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield Member(label, _short(printable(entry.name)), content.read())
    except FileNotFoundError:
        raise ImportFileError(str(file), "does not exist", next_step="Check the path.") from None
    except DAMAGE as error:
        raise ImportFileError(str(file), f"is cut or damaged ({error})") from error


def _content(file: Path) -> bytes:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
        raise ImportFileError(str(file), "is no regular file", next_step="Copy a data file.")
    _require_size(file, status.st_size)
    return file.read_bytes()


def _require_size(file: Path, size: int) -> None:
    if size > MOST_UNPACKED:
        limit = f"{MOST_UNPACKED / 1e6:.0f} MB"
        raise ImportFileError(str(file), f"has more than {limit} when unpacked")


def _open_zip(file: Path, label: str, data: bytes) -> Iterator[Member]:
    """Yield the sheets of a workbook, or the entries of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _require_size(file, sum(entry.file_size for entry in archive.infolist()))
        entries = sorted(entry.filename for entry in archive.infolist() if not entry.is_dir())
        if "xl/workbook.xml" in entries:
            yield Member(label, printable(file.name), workbook_text(data, label).encode())
            return
        for name in entries:
            try:
                content = archive.read(name)
            except (RuntimeError, NotImplementedError) as error:  # encrypted, or an odd method
                raise ImportFileError(label, f"{name} cannot be unpacked ({error})") from None
            yield Member(label, Path(printable(name)).name, content)


def workbook_text(data: bytes, label: str) -> str:
    """Return the first sheet with values of an xlsx workbook as text, semicolons between cells.

    Raises
    ------
    ImportFileError
        If it is no workbook that can be read.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]
    except (CalamineError, ValueError) as error:
        raise ImportFileError(label, f"is a workbook that cannot be read ({error})") from None
    rows = next((rows for rows in sheets if rows), [])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    for row in rows:
        writer.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: object) -> str:
    """Return a cell as text: midnight as a date, and whole numbers without a point."""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _short(name: str) -> str:
    """Return the name without the archive's own top folder."""
    return "/".join(Path(name).parts[1:]) or name
