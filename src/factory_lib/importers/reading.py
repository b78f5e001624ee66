"""The description of a file format, and the reader of delimited text that most formats share."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member

KEY_COLUMNS = ("member", "line", "place", "source", "resolution_s", "edition", "start")
YEARS = (1900, 2100)  # a slip of the pen would make a window of millions of slots
# Units of files that are not those of the series. Of prices as many decimals are kept as
# the files carry, so that the change of unit adds no digit of its own.
CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "K": lambda kelvin: np.round(kelvin - 273.15, 3),
    "EUR/kWh": lambda price: np.round(price * 1000.0, 5),
}

TimeReader = Callable[["Lines"], pd.Series]
PlaceReader = Callable[["Lines"], "str | pd.Series"]
Parser = Callable[[Member, "Format"], "Reading"]


class Rejection(NamedTuple):
    """A value, a line or a whole member that cannot be read."""

    member: str
    text: str
    reason: str
    line: int = 0
    series: str = ""


@dataclass(frozen=True)
class Reading:
    """Members of one format, read but not yet checked.

    Attributes
    ----------
    table : DataFrame
        One row per line of the file: ``KEY_COLUMNS``, then one float column per series;
        NaN is an empty cell. ``edition`` counts publications of the same day, of which
        the highest is valid.
    notes : tuple of str
        Assumptions made and columns left out, for the reader of the report.
    """

    table: pd.DataFrame
    rejected: tuple[Rejection, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def series(self) -> list[str]:
        """The series the table has columns for."""
        return [str(name) for name in self.table if name not in KEY_COLUMNS]


def join_readings(readings: Sequence[Reading]) -> Reading:
    """Return readings of one format as one, each note once."""
    return Reading(
        pd.concat([each.table for each in readings], ignore_index=True),
        tuple(chain.from_iterable(each.rejected for each in readings)),
        tuple(dict.fromkeys(chain.from_iterable(each.notes for each in readings))),
    )


class Lines:
    """The lines of one delimited member, still text; those that cannot be read are collected.

    Parameters
    ----------
    separator : str, optional
        Of the values, where it is not that of the format.
    names : sequence of str, optional
        Names of the columns, empty for those that are left out; else the headings.
    heading : int
        How many lines stand above the headings.

    Attributes
    ----------
    text : DataFrame
        The cells without the spaces around them; the index is the number of the line.
    short : array of bool
        Lines of which it is unknown whose their values are.

    Raises
    ------
    ImportFileError
        If there is no line, or one has more values than columns.
    """

    def __init__(
        self,
        member: Member,
        fmt: "Format",
        separator: str = "",
        *,
        names: Sequence[str] | None = None,
        heading: int = 0,
    ) -> None:
        self.member = member
        self.fmt = fmt
        self.notes: list[str] = []
        self._rejected: list[Rejection] = []
        self.is_cut = not member.text.endswith(("\n", "\r"))
        separator = separator or fmt.separator
        headings, rows = _rows(member, separator, heading)
        width = len(headings)
        even = [(row + [""] * width)[:width] for row in rows.values()]
        cells = pd.DataFrame(even, list(rows), range(width), dtype="str")
        self.text = cells.set_axis(list(names or headings), axis=1)
        self.text = self.text.loc[:, ~self.text.columns.duplicated() & (self.text.columns != "")]
        self.short = np.zeros(len(rows), dtype=bool)
        short = self._shorter(cells, [len(row) for row in rows.values()])
        if short.any():
            texts = pd.Series([separator.join(row) for row in rows.values()])
            self.reject(short, texts, "has fewer values than columns")
            self.short = short

    def _shorter(self, cells: pd.DataFrame, widths: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return the lines without a column that most lines fill, and a last one that was cut.

        Spreadsheets leave out the separators of columns at the end that are empty.
        """
        filled = np.flatnonzero((cells != "").mean() > 0.5)
        short = np.array(widths, dtype=np.int64) <= filled.max(initial=-1)
        if self.is_cut and widths:  # its last number may be one without its last digits
            short[-1] |= widths[-1] < [cells.shape[1], *widths][-2]
        return np.asarray(short)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(map(str, self.text))

    def column(self, name: str) -> pd.Series:
        """Return the text of a column.

        Raises
        ------
        ImportFileError
            If the file has no such column.
        """
        if name not in self.text:
            raise ImportFileError(self.member.label, f"has no column {name}")
        return self.text[name]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as floats, NaN where empty."""
        texts = self.column(name)
        points = texts
        if self.fmt.decimal == "," and texts.str.contains(",", regex=False).any():
            # a point among commas may be one of thousands
            points = texts.str.replace(".", "?", regex=False).str.replace(",", ".", regex=False)
        values = np.array(pd.to_numeric(points, errors="coerce"), dtype=np.float64)
        for word, value in self.fmt.words.items():
            values[(texts == word).to_numpy()] = value
        readable = np.isfinite(values) | texts.isin(["", *self.fmt.words]).to_numpy()
        self.reject(~readable, texts, "not a number", series=name)
        return np.where(np.isfinite(values), values, np.nan)

    def values(self) -> dict[str, np.ndarray]:
        """Return the columns of the format by series, in the series' units."""
        columns = self.fmt.columns.items()
        return {series: self.fmt.convert(series, self.numbers(name)) for name, series in columns}

    def times(self, usable: pd.Series, layout: str, texts: pd.Series, reason: str) -> pd.Series:
        """Return ``usable`` texts as UTC times; those of the lines without one are rejected."""
        times = pd.to_datetime(usable, utc=True, format=layout, errors="coerce").dt.as_unit("s")
        times = times.where(times.dt.year.between(*YEARS))
        self.reject(times.isna(), texts, reason)
        return times

    def reject(self, where: Any, texts: pd.Series, reason: str, *, series: str = "") -> None:
        """Collect the lines that cannot be read, each for the first reason if it is short."""
        for at in np.flatnonzero(np.asarray(where) & ~self.short).tolist():
            text = str(texts.iloc[at])
            line = int(self.text.index[at])
            self._rejected.append(Rejection(self.member.label, text, reason, line, series))

    def reading(
        self,
        start: pd.Series | None = None,
        values: Mapping[str, np.ndarray] | None = None,
        *,
        place: str | pd.Series | None = None,
        source: str | pd.Series | None = None,
        resolution_s: int | np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> Reading:
        """Return the readable lines, as the format describes them unless given otherwise."""
        fmt = self.fmt
        if place is None:
            place = fmt.place if isinstance(fmt.place, str) else fmt.place(self)
        table = pd.DataFrame(
            {
                "member": self.member.label,
                "line": self.text.index,
                "place": place,
                "source": fmt.source if source is None else source,
                "resolution_s": fmt.resolution_s if resolution_s is None else resolution_s,
                "edition": 0,
                "start": fmt.time(self) if start is None else start,
                **(self.values() if values is None else values),
            },
            index=self.text.index,
        )
        usable = table[["start", "place", "source"]].notna().all(axis=1) & ~self.short
        cut = [f"{self.member.label} ends in mid-line: it may have been cut."] * self.is_cut
        return Reading(
            table[usable].reset_index(drop=True),
            tuple(self._rejected),
            (*fmt.notes, *self.notes, *notes, *cut),
        )


def _rows(member: Member, separator: str, heading: int) -> tuple[list[str], dict[int, list[str]]]:
    """Return the headings, and the values of each line below them that has any, by its number."""
    lines = islice(io.StringIO(member.text, newline=None), heading, None)
    reader = csv.reader(lines, delimiter=separator)
    headings = next(reader, [])
    if not headings:
        raise ImportFileError(member.label, "holds no table")
    rows = {}
    for row in reader:
        number = heading + reader.line_num
        if any(row[len(headings) :]):  # empty ones are separators at the end of a line
            raise ImportFileError(
                member.label,
                f"has {len(row)} values for {len(headings)} columns in line {number}; "
                "perhaps its decimals are commas",
            )
        cells = list(map(str.strip, row))
        if any(cells):
            rows[number] = cells
    return headings, rows


# -- conventions of times and places --------------------------------------------------------------


def instants(name: str) -> TimeReader:
    """Read a column of ISO instants; one without an offset is rejected, never guessed."""

    def read(lines: Lines) -> pd.Series:
        texts = lines.column(name)
        aware = texts.where(texts.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$"))
        return lines.times(aware, "ISO8601", texts, "not an instant with time zone")

    return read


def utc_midnights(*names: str) -> TimeReader:
    """Read dates, of one column or of those of year, month and day, as UTC midnights."""

    def read(lines: Lines) -> pd.Series:
        texts = lines.column(names[0])
        for name in names[1:]:
            texts = texts + "-" + lines.column(name)
        return lines.times(texts, "%Y-%m-%d", texts, "not a date")

    return read


def named_by(name: str, aliases: Mapping[str, str] | None = None) -> PlaceReader:
    """Read the place from a column, under the name that the site knows it by."""
    return lambda lines: lines.column(name).replace(dict(aliases or {}))


TIME_UTC = instants("time_utc")


def parse_table(member: Member, fmt: "Format") -> Reading:
    """Read a table whose columns are series."""
    return Lines(member, fmt).reading()


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format.

    Attributes
    ----------
    words_at_start : tuple of str
        Recognise a file: all of them are in its first bytes.
    names : tuple of tuples of str
        Recognise a table: it has all columns (``office.COLUMNS``) of one of these.
    headings : mapping of str to str
        Plain names of further headings, which are those of numbers.
    columns : mapping of str to str
        The series of each column.
    units : mapping of str to str
        Units of series that are not the series' own (``CONVERSIONS``).
    time : callable
        The time convention: reads the UTC start of each line's slot.
    place : str or callable
        The place of all lines, or what reads that of each.
    source : str
        Provenance of the values, as in the catalogue.
    parse : callable
        Reads a member.
    words : mapping of str to float
        Words among the numbers, and their value.
    sums_before : tuple of str
        Series whose values are sums over the slot that ends at the line's time; they are
        stored where it begins.
    continuous : bool
        Whether every day between the first and the last is expected; else each day is
        judged by itself.
    shared_window : bool
        Whether every place should report over the whole file, so that late ones show.
    zone : ZoneInfo
        Where local times and days are; the plant's, in its own records.
    editions : bool
        Whether a name ends in the number of its publication: ``….2`` replaces ``….1``.
    own_market : bool
        Whether its prices are those of the site's own market area.
    """

    words_at_start: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    headings: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    time: TimeReader = TIME_UTC
    place: str | PlaceReader = "ES"
    source: str = ""
    resolution_s: int = HOUR_S
    parse: Parser = parse_table
    separator: str = ","
    decimal: str = "."
    words: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sums_before: tuple[str, ...] = ()
    continuous: bool = True
    shared_window: bool = False
    zone: ZoneInfo = MADRID
    editions: bool = False
    own_market: bool = False

    def read(self, member: Member) -> Reading:
        """Read a member.

        Raises
        ------
        ImportFileError
            If it is not as the format describes.
        """
        try:
            reading = self.parse(member, self)
        except csv.Error as error:  # a quote that is never closed, a line without end
            raise ImportFileError(member.label, f"is no table ({error})") from error
        if not reading.series:
            raise ImportFileError(member.label, "has no column of a series")
        return reading

    def convert(self, series: str, values: np.ndarray) -> np.ndarray:
        """Return values of a file in the unit of their series."""
        return CONVERSIONS[self.units[series]](values) if series in self.units else values
