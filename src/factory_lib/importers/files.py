"""Members of a path: plain files, gzip, tar archives and folders, none unpacked to disk."""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from factory_lib.errors import ImportFileError

_GZIP = b"\x1f\x8b"


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

    def text(self, encoding: str) -> str:
        """Return the content as text.

        Raises
        ------
        ImportFileError
            If it is not in that encoding.
        """
        try:
            return self.data.decode(encoding)
        except UnicodeDecodeError as error:
            raise ImportFileError(self.label, f"is not {encoding} at byte {error.start}") from error

    @property
    def label(self) -> str:
        """Name as a person would look for it."""
        file = Path(self.file)
        whole = file.name in (self.name, f"{self.name}.gz")
        return str(file.with_name(self.name)) if whole else f"{self.file}: {self.name}"


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
        data = file.read_bytes()
        if data[:2] == _GZIP:
            data = gzip.decompress(data)
        if not tarfile.is_tarfile(io.BytesIO(data)):
            yield Member(label, printable(file.name).removesuffix(".gz"), data)
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for entry in sorted(archive.getmembers(), key=lambda entry: entry.name):
                content = archive.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield Member(label, _short(printable(entry.name)), content.read())
    except FileNotFoundError:
        raise ImportFileError(str(file), "does not exist", next_step="Check the path.") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ImportFileError(str(file), f"is cut or damaged ({error})") from error


def _short(name: str) -> str:
    """Return the name without the archive's own top folder."""
    return "/".join(Path(name).parts[1:]) or name
