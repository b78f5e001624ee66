"""The store's contract, kept once for every backend; one test suite holds each to it.

Rows are appended, never updated. A row is one value; its identity is series, place,
source, kind, resolution, start and ``rev``. ``rev`` rises with each different value
that arrives. An equal value writes nothing, and neither does late news: what its
provider updated before the newest revision held, or, without such a time, what a
revision that has one replaced. Else, where either of the two times is unknown, what
arrives later is newer. Reading gives one value per slot: without open verdicts, best
kind, most trusted place and source, highest ``rev`` available at ``as_of``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Series
from factory_lib.clock import epoch
from factory_lib.errors import BadInput, WriteNotConfirmed
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.slots import Slots
from factory_lib.store import checksums, merge, view
from factory_lib.store.backend import VERDICT_COLUMNS, Backend, Origin, Window
from factory_lib.store.merge import WriteResult
from factory_lib.store.rows import NAT, Rows
from factory_lib.store.view import VIEW_COLUMNS

__all__ = ["VERDICT_COLUMNS", "VIEW_COLUMNS", "Store", "WriteResult"]

_JUDGED = ["series", "place", "source", "start", "rev"]  # what a verdict is about


class Store:
    """A profile's values, forecasts and verdicts; every method raises ``StoreUnavailable`` when it cannot be reached.

    Attributes
    ----------
    origin : str
        ``real`` or ``simulated``, from the store's own stamp.
    on_operation : callable, optional
        Called after each operation with its name, ``ok`` or ``failed``, rows and
        milliseconds.
    """

    def __init__(self, backend: Backend, catalogue: Catalogue) -> None:
        self.backend = backend
        self.catalogue = catalogue
        self.origin: Origin = backend.origin
        self.on_operation: Callable[[str, str, int, float], None] | None = None

    @contextmanager
    def _operation(self, name: str) -> Iterator[list[int]]:
        """Time one operation; the caller puts its number of rows into the list."""
        rows = [0]
        status = "failed"
        began = time.perf_counter()
        try:
            yield rows
            status = "ok"
        finally:
            if self.on_operation:
                self.on_operation(name, status, rows[0], (time.perf_counter() - began) * 1000)

    # -- values ---------------------------------------------------------------------------------------------------

    def write(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Append tidy rows (``frames.TIDY_COLUMNS``).

        ``available_at`` of a first value is the catalogue's publication rule; of a
        changed one the latest of that rule and ``provider_updated_at``, else
        ``retrieved_at``. Not written: an equal value, and late news (``older``).
        Rejected and counted: a value outside the catalogue's range or not finite, and a
        start that is not on the grid of its resolution.

        Raises
        ------
        BadInput
            If the catalogue does not know the series.
        WriteNotConfirmed
            If what was written is not found when read again; repeating the write
            completes it.
        """
        with self._operation("write") as counted:
            measurement = rows["series"].map(
                {s: self.catalogue[s].measurement for s in rows["series"].unique()}
            )
            names, total = measurement.unique(), WriteResult()
            for name in names:
                total += self._write(
                    rows if len(names) == 1 else rows[measurement == name], name, run_id
                )
            counted[0] = len(rows)
            return total

    def _write(self, frame: pd.DataFrame, measurement: str, run_id: str) -> WriteResult:
        arriving, refused = merge.admit(frame, run_id, self.catalogue)
        if not len(arriving):
            return WriteResult(rejected=refused)
        window, columns = _around(arriving), ["channel", "start", "rev", "value"]
        timed = [
            *columns,
            "provider_updated_at",
        ]  # in InfluxDB a query more: only where it is compared
        with self.backend.writing(measurement):
            held = self.backend.load(
                window, columns=timed if (arriving["provider_updated_at"] > NAT).any() else columns
            )
            if "provider_updated_at" not in held.column and merge.goes_back(arriving, held):
                held = self.backend.load(window, columns=timed)
            added, result = merge.settle(arriving, held)
            if len(added):
                self.backend.append(added)
                lost = merge.absent(added, self.backend.load(window, columns=columns)).sum()
                if lost:
                    raise WriteNotConfirmed(
                        f"{lost} of {len(added)} rows were written and not found again."
                    )
        return result + WriteResult(rejected=refused)

    def read(
        self,
        series: str | Sequence[str],
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
        grid_s: int | None = None,
        raw: bool = False,
    ) -> pd.DataFrame:
        """Return view rows (``VIEW_COLUMNS``) of the half-open window, in the order of ``series``, then by start.

        ``places`` are in order of trust. ``grid_s=3600`` gives the mean of an hour's
        four quarters, and nothing where one is absent. ``raw`` returns every stored
        row, quarantined ones and old revisions included.

        Raises
        ------
        BadInput
            If the catalogue does not know a series, or one is published inside the
            window at a coarser cadence than ``grid_s``.
        """
        names = [series] if isinstance(series, str) else list(series)
        entries = [self.catalogue[name] for name in names]
        if grid_s is not None:
            _require_grid(entries, start, end, grid_s)
        with self._operation("read") as counted:
            rows = self.backend.load(_window(names, places, start, end, as_of))
            if raw:
                rows = view.in_series_order(rows, names)
            else:
                shown = view.countable(rows, self._quarantined(names), self.catalogue)
                rows = view.best(rows.take(shown), names, places, self.catalogue)
                if grid_s is not None:
                    rows = view.on_grid(rows, names, places, grid_s, self.catalogue)
            counted[0] = len(rows)
            return view.frame_of(rows)

    def slots(
        self,
        series: str,
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
    ) -> Slots:
        """Return the ascending, distinct starts of the slots that ``read`` would show, as seconds since 1970."""
        entry = self.catalogue[series]
        with self._operation("slots") as counted:
            quarantined = self._quarantined([entry.name])
            # A first value is known no later than its revisions: only a quarantine
            # makes the others matter.
            columns = ("channel", "start") if quarantined.empty else ("channel", "start", "rev")
            window = _window([series], places, start, end, as_of)
            rows = self.backend.load(window, columns=columns, first_only=quarantined.empty)
            starts = rows.take(view.countable(rows, quarantined, self.catalogue))["start"]
            if (np.diff(starts) <= 0).any():
                starts = np.unique(starts)
            counted[0] = len(starts)
            return starts

    def _quarantined(self, series: Sequence[str]) -> pd.DataFrame:
        rows = self._read_verdicts(open_only=True)
        return rows[rows["series"].isin(series)]

    # -- forecasts ------------------------------------------------------------------------------------------------

    def write_forecasts(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Store forecast rows (``frames.FORECAST_COLUMNS``); identity: series, place, model, issued_at, target_start.

        A different forecast of the same identity replaces the first and counts as
        revised. Rejected and counted: no ``p50``, or a target slot that ended before
        its issue or lies further ahead than ``rows.MAX_LEAD_S``.
        """
        with self._operation("write_forecasts") as counted:
            counted[0] = len(rows)
            arriving, refused = merge.admit_forecasts(rows[list(FORECAST_COLUMNS)], run_id)
            if not len(arriving):
                return WriteResult(rejected=refused)
            window = _around(arriving)
            with self.backend.writing("forecasts"):
                added, result = merge.settle_forecasts(
                    arriving, self.backend.load_forecasts(window)
                )
                if len(added):
                    self.backend.append_forecasts(added)
                    lost, _ = merge.settle_forecasts(added, self.backend.load_forecasts(window))
                    if len(lost):
                        raise WriteNotConfirmed(
                            f"{len(lost)} of {len(added)} forecasts were not found again."
                        )
            return result + WriteResult(rejected=refused)

    def read_forecasts(
        self,
        series: str,
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
        models: Sequence[str] | None = None,
        latest: bool = True,
    ) -> pd.DataFrame:
        """Return forecasts of target slots in the window issued at or before ``as_of``, by model, target and issue.

        ``latest``: of each model and target only the last issue, from the most trusted
        place.
        """
        with self._operation("read_forecasts") as counted:
            rows = self.backend.load_forecasts(_window([series], places, start, end, as_of))
            frame = view.forecast_frame(rows, places, latest=latest)
            if models is not None:
                frame = frame[frame["model"].isin(list(models))].reset_index(drop=True)
            counted[0] = len(frame)
            return frame

    # -- verdicts -------------------------------------------------------------------------------------------------

    def write_verdicts(self, rows: pd.DataFrame) -> int:
        """Append verdicts (``VERDICT_COLUMNS``, ``verdict`` quarantined or released) and return how many were new.

        The last verdict on a value counts.
        """
        unknown = set(rows["verdict"]) - {"quarantined", "released"}
        if unknown:
            raise BadInput(
                f"A verdict is quarantined or released, not {', '.join(sorted(unknown))}."
            )
        with self._operation("write_verdicts") as counted, self.backend.writing("verdicts"):
            rows = _verdicts(rows)
            rows["reason"] = rows["reason"].str.split().str.join(" ")
            have = pd.MultiIndex.from_frame(_verdicts(self.backend.load_verdicts()))
            new = rows[~pd.MultiIndex.from_frame(rows).isin(have)].drop_duplicates()
            if len(new):
                self.backend.append_verdicts(new)
            counted[0] = len(new)
            return len(new)

    def read_verdicts(self, *, open_only: bool = True) -> pd.DataFrame:
        """Return the verdicts, newest first; ``open_only``: the last of each value, where it is a quarantine."""
        with self._operation("read_verdicts") as counted:
            rows = self._read_verdicts(open_only=open_only)
            counted[0] = len(rows)
            return rows

    def _read_verdicts(self, *, open_only: bool) -> pd.DataFrame:
        rows = _verdicts(self.backend.load_verdicts()).sort_values("at", kind="stable")
        if open_only:
            rows = rows.drop_duplicates(_JUDGED, keep="last")
            rows = rows[rows["verdict"] == "quarantined"]
        return rows.iloc[::-1].reset_index(drop=True)

    # -- the whole ------------------------------------------------------------------------------------------------

    def inventory(self) -> pd.DataFrame:
        """Return one row per measurement, series, place, source and kind: ``rows``, ``first``, ``last``, ``checksum``.

        Forecasts count as measurement ``forecasts``, verdicts as ``verdicts``. Equal
        checksums mean equal content, in whatever order and backend.
        """
        with self._operation("inventory") as counted:
            frame = checksums.inventory(self.backend, self.catalogue)
            counted[0] = int(frame["rows"].sum())
            return frame

    def maintain(self) -> None:
        """Compact whatever the backend lets grow."""
        with self._operation("maintain"):
            self.backend.maintain()

    def close(self) -> None:
        """Release files and connections."""
        self.backend.close()


def _window(
    series: Sequence[str],
    places: Sequence[str],
    start: datetime,
    end: datetime,
    as_of: datetime | None,
) -> Window:
    return Window(
        tuple(series),
        epoch(start),
        epoch(end),
        tuple(places),
        None if as_of is None else epoch(as_of),
    )


def _require_grid(entries: Sequence[Series], start: datetime, end: datetime, grid_s: int) -> None:
    """Refuse a grid finer than the cadence that any of the series has inside the window."""
    for entry in entries:
        for begin, _, cadence in entry.spans(start, end):
            if cadence.resolution_s > grid_s:
                raise BadInput(
                    f"{entry.name} comes every {cadence.resolution_s} s from {begin:%Y-%m-%d}, not every {grid_s} s.",
                    next_step="Ask for a coarser grid, or for a window after the change of cadence.",
                )


def _around(rows: Rows) -> Window:
    """Return the smallest window that holds the rows."""
    series, places = (
        tuple(dict.fromkeys(getattr(c, part) for c in rows.channels))
        for part in ("series", "place")
    )
    return Window(series, int(rows["start"].min()), int(rows["start"].max()) + 1, places)


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    types: Any = {
        **dict.fromkeys(VERDICT_COLUMNS, "str"),
        "rev": "int64",
        "start": UTC_S,
        "at": UTC_S,
    }
    return rows[list(VERDICT_COLUMNS)].astype(types)
