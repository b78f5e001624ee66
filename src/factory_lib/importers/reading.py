"""What a format module returns, and the reader of delimited text that most of them share."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from factory_lib.errors import ImportFileError, SourceError
from factory_lib.frames import UTC_S
from factory_lib.importers.files import Member
from factory_lib.sources.parsing import Parsed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
KEY_COLUMNS = ("member", "line", "place", "source", "resolution_s", "edition", "start")
YEARS = (
    1900,
    2100,
)  # another one is a slip of the pen, and would make a window of millions of slots
FIRST_LINE = 2  # of a table's values: the header is line 1
REJECTED_COLUMNS = ("member", "line", "place", "start", "series", "text", "reason")


@dataclass(frozen=True)
class Reading:
    """One or more members of one format, read but not yet judged.

    Attributes
    ----------
    table : DataFrame
        One row per line of the file: ``KEY_COLUMNS``, then one float column per series;
        NaN is an empty cell. ``edition`` counts republications of the same day, the
        highest being the last word.
    rejected : DataFrame
        What could not be read (``REJECTED_COLUMNS``).
    forecasts : DataFrame, optional
        Forecast rows (``frames.FORECAST_COLUMNS``) with their ``member``.
    notes : tuple of str
        Assumptions made and columns left out, for the reader of the report.
    continuous : bool
        Whether every day between the first and the last is expected; else each day is
        judged by itself.
    shared_window : bool
        Whether every place should report over the whole file, so that late ones show.
    sums_before : tuple of str
        Series whose values are sums over the slot that ends at the line's ``start``;
        they are stored where it begins.
    """

    table: pd.DataFrame
    rejected: pd.DataFrame = field(default_factory=lambda: rejected())
    forecasts: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    continuous: bool = True
    shared_window: bool = False
    sums_before: tuple[str, ...] = ()

    @property
    def series(self) -> list[str]:
        """The series the table has columns for."""
        return [str(name) for name in self.table if name not in KEY_COLUMNS]


def rejected(**columns: Any) -> pd.DataFrame:
    """Return a frame of offending rows; columns that are not given stay empty."""
    length = max(
        (len(value) for value in columns.values() if not isinstance(value, str)), default=0
    )
    unknown = pd.Series(pd.NaT, index=range(length), dtype=UTC_S)
    text = dict.fromkeys(("member", "place", "series", "text", "reason"), "")
    frame = pd.DataFrame({"line": 0, "start": unknown, **text, **columns}, index=range(length))
    return frame[list(REJECTED_COLUMNS)].astype({"line": "int64", **dict.fromkeys(text, "str")})


def join(parts: Sequence[Record]) -> Record:
    """Join records of one kind, field by field: frames one below the other, notes each once, counts summed.

    Words and choices are those of the first.
    """
    first = parts[0]
    return replace(
        first, **{f.name: _joined([getattr(part, f.name) for part in parts]) for f in fields(first)}
    )


def _joined(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known or isinstance(known[0], str | bool):
        return values[0]
    if isinstance(known[0], pd.DataFrame):
        return pd.concat([frame for frame in known if len(frame)] or known[:1], ignore_index=True)
    if type(known[0]) is tuple:
        return tuple(dict.fromkeys(chain.from_iterable(known)))
    return reduce(add, known)


def each(read: Callable[[Member], Reading]) -> Callable[[Sequence[Member]], Reading]:
    """Return the reader of several members of a format that is read one by one."""
    return lambda members: join([read(member) for member in members])


def parsed_reading(members: Sequence[Member], parse: Callable[[Member], Parsed]) -> Reading:
    """Read members with the parser that a provider's client uses.

    Raises
    ------
    ImportFileError
        If one of them is not what the provider publishes.
    """
    rows, bad = [], [rejected()]
    for member in members:
        try:
            parsed = parse(member)
        except SourceError as error:
            raise ImportFileError(member.label, error.detail) from error
        rows.append(parsed.rows.assign(member=member.label, line=0, edition=0))
        texts, reasons, lines = (
            zip(*parsed.rejected, strict=True) if parsed.rejected else ((), (), ())
        )
        numbers = [line or 0 for line in lines]
        bad.append(
            rejected(member=member.label, line=numbers, text=list(texts), reason=list(reasons))
        )
    found = pd.concat(rows, ignore_index=True)
    if not len(found):
        raise ImportFileError(members[0].label, "holds no value")
    table = found.pivot(index=list(KEY_COLUMNS), columns="series", values="value")
    return Reading(table.reset_index().rename_axis(columns=None), pd.concat(bad, ignore_index=True))


def _same_width(member: Member, content: str, separator: str) -> None:
    """Refuse a line with more values than columns: which of them is whose would be a guess.

    Raises
    ------
    ImportFileError
        If there is one.
    """
    lines = csv.reader(io.StringIO(content), delimiter=separator)
    width = len(next(lines, []))
    for line in lines:
        if any(line[width:]):  # empty ones are separators at the end of a line
            raise ImportFileError(
                member.label,
                f"has {len(line)} values for {width} columns in line {lines.line_num}; are its decimals commas?",
            )


class Lines:
    """The lines of one delimited member, still text; what cannot be read of them is collected, never dropped."""

    def __init__(
        self,
        member: Member,
        needed: Sequence[str],
        *,
        encoding: str = "utf-8-sig",
        separator: str = ",",
    ) -> None:
        self.member = member
        content = member.text(encoding)
        _same_width(member, content, separator)
        try:
            self.text = pd.read_csv(
                io.StringIO(content), sep=separator, dtype=str, na_filter=False, index_col=False
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise ImportFileError(member.label, str(error).strip()) from error
        absent = [name for name in needed if name not in self.text]
        if absent:
            raise ImportFileError(member.label, f"has no column {', '.join(absent)}")
        self.notes = (
            []
            if content.endswith("\n")
            else [f"{member.label} ends in mid-line: it may have been cut."]
        )
        self._rejected: list[pd.DataFrame] = []

    def numbers(
        self, name: str, *, decimal: str = ".", words: Mapping[str, float] | None = None
    ) -> np.ndarray:
        """Return a column as floats, NaN where empty; ``words`` says what a provider's word is worth."""
        texts = self.text[name].str.strip()
        values = np.array(
            pd.to_numeric(texts.str.replace(decimal, "."), errors="coerce"), dtype=np.float64
        )
        for word, value in (words or {}).items():
            values[(texts == word).to_numpy()] = value
        known = texts.isin(["", *(words or ())]).to_numpy()
        self.reject(~np.isfinite(values) & ~known, texts, "not a number", series=name)
        return np.where(np.isfinite(values), values, np.nan)

    def instants(self, name: str) -> pd.Series:
        """Return a column of ISO instants as UTC; one without offset is rejected, never guessed."""
        texts = self.text[name].str.strip()
        aware = texts.where(texts.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$"))
        return self._times(aware, "ISO8601", texts, "not an instant with time zone")

    def days(self, texts: pd.Series, layout: str) -> pd.Series:
        """Return dates as the UTC midnight of that day."""
        return self._times(texts, layout, texts, "not a date")

    def _times(self, usable: pd.Series, layout: str, texts: pd.Series, reason: str) -> pd.Series:
        times = pd.to_datetime(usable, utc=True, format=layout, errors="coerce").dt.as_unit("s")
        times = times.where(times.dt.year.between(*YEARS))
        self.reject(times.isna(), texts, reason)
        return times

    def reject(self, where: Any, texts: pd.Series, reason: str, *, series: str = "") -> None:
        """Note the offending lines."""
        at = np.flatnonzero(np.asarray(where))
        if len(at):
            text = texts.iloc[at].to_numpy()
            self._rejected.append(
                rejected(
                    member=self.member.label,
                    line=at + FIRST_LINE,
                    text=text,
                    series=series,
                    reason=reason,
                )
            )

    def reading(
        self,
        start: pd.Series,
        values: Mapping[str, np.ndarray],
        *,
        place: str | pd.Series,
        source: str | pd.Series,
        resolution_s: int | np.ndarray,
        notes: Sequence[str] = (),
        **more: Any,
    ) -> Reading:
        """Return the readable lines as a ``Reading``."""
        table = pd.DataFrame(
            {
                "member": self.member.label,
                "line": np.arange(len(self.text)) + FIRST_LINE,
                "place": place,
                "source": source,
                "resolution_s": resolution_s,
                "edition": 0,
                "start": start,
                **values,
            }
        )
        bad = pd.concat([rejected(), *self._rejected], ignore_index=True)
        usable = table[["start", "place", "source"]].notna().all(axis=1)
        return Reading(
            table[usable].reset_index(drop=True), bad, notes=(*notes, *self.notes), **more
        )
