"""The store's contract, kept once for every backend; one test suite holds each to it.

Rows are appended, never updated. A row is one value; its identity is series, place,
source, kind, resolution, start and ``rev``. ``rev`` rises with each different value
that arrives. An equal value writes nothing, and neither does late news: what its
provider updated before the newest stored revision, or, without such a time, what a
revision that has one replaced. Else, where either of the two times is unknown, what
arrives later is newer. Reading gives one value per slot: without open verdicts, best
kind, most trusted place and source, highest ``rev`` available at ``as_of``.
"""

import time
from collections.abc import Callable, Collection, Sequence, Sized
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.clock import epoch
from factory_lib.errors import BadInput, WriteNotConfirmed
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.slots import Slots
from factory_lib.store import merge, view
from factory_lib.store.backend import (
    FORECAST,
    JUDGED,
    NAT,
    VERDICT_COLUMNS,
    Backend,
    Origin,
    Rows,
    Window,
)
from factory_lib.store.merge import WriteResult
from factory_lib.store.view import VIEW_COLUMNS

__all__ = ["VERDICT_COLUMNS", "VIEW_COLUMNS", "Store", "WriteResult"]

P = ParamSpec("P")
R = TypeVar("R", bound=Sized | int | None)
_VERDICT_TYPES: dict[str, Any] = {
    **dict.fromkeys(VERDICT_COLUMNS, "str"),
    "rev": "int64",
    "start": UTC_S,
    "at": UTC_S,
}
_NO_VERDICTS = pd.DataFrame(columns=list(VERDICT_COLUMNS)).astype(_VERDICT_TYPES)
COMPARED = ("channel", "start", "rev", "value")

Method = Callable[Concatenate["Store", P], R]

# Noon of Madrid's winter, in seconds of the UTC day: forecasts of the next day are issued by then.
ISSUE_NOON_S = 11 * 3600


def _operation(method: Method[P, R]) -> Method[P, R]:
    """Report each call of a method to ``Store.on_operation``, with the rows of its result."""

    @wraps(method)
    def reported(store: "Store", /, *args: P.args, **options: P.kwargs) -> R:
        rows = 0
        status = "failed"
        began = time.perf_counter()
        try:
            result = method(store, *args, **options)
            if isinstance(result, Sized):
                rows = len(result)
            elif isinstance(result, int):
                rows = result
            status = "ok"
            return result
        except BadInput:
            status = ""  # a mistake of who asks is no operation of the store
            raise
        finally:
            if store.on_operation and status:
                passed_ms = (time.perf_counter() - began) * 1000
                store.on_operation(method.__name__.strip("_"), status, rows, passed_ms)

    return reported


class Store:
    """A profile's values, forecasts and verdicts.

    Every method raises ``StoreUnavailable`` when the store cannot be reached.

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

    # -- values -------------------------------------------------------------------------------

    @_operation
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
        series: dict[str, list[str]] = {}
        for name in rows["series"].unique():
            series.setdefault(self.catalogue[name].measurement, []).append(name)
        result = WriteResult()
        for measurement, names in series.items():
            part = rows if len(series) == 1 else rows[rows["series"].isin(names)]
            result += self._write(part, measurement, run_id)
        return result

    def _write(self, frame: pd.DataFrame, measurement: str, run_id: str) -> WriteResult:
        arriving, rejected = merge.admit(frame, run_id, self.catalogue)
        refused = WriteResult(rejected=rejected)
        if not len(arriving):
            return refused
        window = _around(arriving)
        # In InfluxDB the times are another query: only where they are compared.
        timed = (*COMPARED, "provider_updated_at")
        has_times = bool((arriving["provider_updated_at"] > NAT).any())
        with self.backend.writing(measurement):
            stored = self.backend.load(window, timed if has_times else COMPARED)
            if merge.has_revisions(stored) and not has_times:
                stored = self.backend.load(window, timed)
            added, result = merge.merge_values(arriving, stored)
            if len(added):
                self.append(added, window)
        return result + refused

    def append(self, rows: Rows, window: Window) -> None:
        """Add rows of a window that are not stored, and look whether they are there.

        Raises
        ------
        WriteNotConfirmed
            If some are not.
        """
        self.backend.append(rows)
        lost = merge.absent(rows, self.backend.load(window, COMPARED)).sum()
        if lost:
            raise WriteNotConfirmed(f"{lost} of {len(rows)} rows were written and not found again.")

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
        """Return view rows of the half-open window, in the order of ``series``, then by start.

        Series of forecasts come last: the latest of each slot, or with ``raw`` all.
        ``places`` are in order of trust. ``grid_s=3600`` gives the mean of an hour's
        four quarters; where one is absent, the hour as a source gave it, else nothing.
        In slots of their own such hours are not shown: what their quarters were is not
        known. ``raw`` returns every stored row, quarantined ones and old revisions
        included.

        Returns
        -------
        DataFrame
            ``VIEW_COLUMNS``.

        Raises
        ------
        BadInput
            If the catalogue does not know a series, or one is published inside the
            window at a coarser cadence than ``grid_s``.
        """
        names = [series] if isinstance(series, str) else list(series)
        values = [name for name in names if not self.catalogue[name].forecast_of]
        for name in values:
            self._require_grid(name, start, end, grid_s)
        window = _window(values, places, start, end, as_of)
        forecasts = [name for name in names if name not in values]
        if not forecasts:
            return self._read(window, grid_s, raw)
        parts = [self._forecast_series(name, start, end, as_of, raw) for name in forecasts]
        if values:
            parts.insert(0, self._read(window, grid_s, raw))
        return view.joined(parts)

    @_operation
    def _read(self, window: Window, grid_s: int | None, raw: bool) -> pd.DataFrame:
        rows = self.backend.load(window)
        if raw:
            return view.to_frame(view.in_series_order(rows, window.series))
        return self._best(rows, window, grid_s)

    def _best(self, rows: Rows, window: Window, grid_s: int | None) -> pd.DataFrame:
        """Return the best row of each slot, see ``read``."""
        verdicts = self._verdicts(open_only=True)
        ranked = (window.series, window.places, self.catalogue)
        shown = view.eligible(rows, verdicts, self.catalogue)
        best = view.select_best(rows.take(shown), *ranked)
        if grid_s is None:
            return view.to_frame(best)
        best = view.coarsen(best, *ranked[:2], grid_s, self.catalogue)
        whole = view.eligible(rows, verdicts, self.catalogue, coarse_s=grid_s)
        coarse = view.select_best(rows.take(whole), *ranked)
        return view.completed(view.to_frame(best), view.to_frame(coarse), window.series)

    def _require_grid(
        self, series: str, start: datetime, end: datetime, grid_s: int | None
    ) -> None:
        """Refuse a grid finer than the cadence of the series inside the window."""
        for begin, _, cadence in self.catalogue[series].spans(start, end):
            if grid_s is not None and cadence.resolution_s > grid_s:
                raise BadInput(
                    f"{series} comes every {cadence.resolution_s} s from {begin:%Y-%m-%d}, "
                    f"not every {grid_s} s.",
                    next_step="Use a coarser grid, or a window after the change of cadence.",
                )

    @_operation
    def slots(
        self,
        series: str,
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
    ) -> Slots:
        """Return the starts of the slots that ``read`` would show.

        They are ascending and distinct, in seconds since 1970.
        """
        entry = self.catalogue[series]  # an unknown one is refused
        if entry.forecast_of:
            window = _window([entry.forecast_of], [entry.area], start, end, as_of)
            rows = self.backend.load_forecasts(window)
            models = [channel.source in entry.models for channel in rows.channels]
            return np.unique(rows["start"][np.array(models or [False])[rows["channel"]]])
        window = _window([series], places, start, end, as_of)
        rows = self.backend.load(window, ("channel", "start", "rev"))
        shown = view.eligible(rows, self._verdicts(open_only=True), self.catalogue)
        starts: Slots = rows.take(shown)["start"]
        return starts if (np.diff(starts) > 0).all() else np.unique(starts)

    # -- forecasts ----------------------------------------------------------------------------

    @_operation
    def write_forecasts(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Store forecast rows (``frames.FORECAST_COLUMNS``).

        Their identity is series, place, model, issued_at and target_start. A different
        forecast of the same identity replaces the first and counts as revised. Rejected
        and counted: no ``p50``, or a target slot that ended before its issue or lies
        further ahead than ``backend.MAX_LEAD_S``.

        Raises
        ------
        WriteNotConfirmed
            If what was written is not found when read again.
        """
        arriving, rejected = merge.admit_forecasts(rows[list(FORECAST_COLUMNS)], run_id)
        if not len(arriving):
            return WriteResult(rejected=rejected)
        return self.append_forecasts(arriving) + WriteResult(rejected=rejected)

    def append_forecasts(self, rows: Rows) -> WriteResult:
        """Add the forecasts that are not stored yet, and look whether they are there."""
        window = _around(rows)
        with self.backend.writing("forecasts"):
            added, result = merge.merge_forecasts(rows, self.backend.load_forecasts(window))
            if len(added):
                self.backend.append_forecasts(added)
                lost, _ = merge.merge_forecasts(added, self.backend.load_forecasts(window))
                if len(lost):
                    raise WriteNotConfirmed(
                        f"{len(lost)} of {len(added)} forecasts were not found again."
                    )
        return result

    def thin_forecasts(self, before: datetime, providers: Collection[str]) -> int:
        """Thin the own forecasts issued ``before`` to one issue a day; return the rows removed.

        The last one by noon of Madrid's winter stays: of each day what a day-ahead
        forecast is scored by. Those of ``providers`` stay, for models learn from them.
        InfluxDB keeps all.
        """
        channels = (each for each in self.backend.channels() if each.kind == FORECAST)
        models = sorted({each.source for each in channels} - set(providers))
        return self.backend.thin_forecasts(models, epoch(before), ISSUE_NOON_S) if models else 0

    @_operation
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
        """Return forecasts of target slots in the window issued at or before ``as_of``.

        They are ordered by model, target and issue. ``latest``: of each model and
        target only the last issue, from the most trusted place.
        """
        rows = self.backend.load_forecasts(_window([series], places, start, end, as_of))
        frame = view.forecast_frame(rows, places, latest=latest)
        if models is not None:
            frame = frame[frame["model"].isin(list(models))].reset_index(drop=True)
        return frame

    def _forecast_series(
        self, name: str, start: datetime, end: datetime, as_of: datetime | None, raw: bool = False
    ) -> pd.DataFrame:
        """Return the forecasts of a series that consists of them as view rows."""
        entry = self.catalogue[name]
        frame = self.read_forecasts(
            entry.forecast_of,
            places=[entry.area],
            start=start,
            end=end,
            as_of=as_of,
            models=list(entry.models),
            latest=not raw,
        )
        return view.forecast_values(frame, entry, entry.models, raw=raw)

    # -- verdicts -----------------------------------------------------------------------------

    @_operation
    def write_verdicts(self, rows: pd.DataFrame) -> int:
        """Append verdicts (``VERDICT_COLUMNS``) and return the number of new ones.

        Each is ``quarantined`` or ``released``; the last one on a value counts.
        """
        unknown = set(rows["verdict"]) - {"quarantined", "released"}
        if unknown:
            raise BadInput(
                f"A verdict is quarantined or released, not {', '.join(sorted(unknown))}."
            )
        rows = rows.assign(reason=rows["reason"].astype("str").str.split().str.join(" "))
        with self.backend.writing("verdicts"):
            stored = self._verdicts(open_only=False)
            both = pd.concat([stored, rows[list(VERDICT_COLUMNS)].astype(_VERDICT_TYPES)])
            new = both[~both.duplicated()].iloc[len(stored.drop_duplicates()) :]
            if len(new):
                self.backend.append_verdicts(new)
        return len(new)

    @_operation
    def read_verdicts(self, *, open_only: bool = True) -> pd.DataFrame:
        """Return the verdicts, newest first.

        ``open_only``: the last of each value, where it is a quarantine.
        """
        return self._verdicts(open_only=open_only)

    def _verdicts(self, *, open_only: bool) -> pd.DataFrame:
        rows = self.backend.load_verdicts()
        if rows.empty:  # as in most stores; every reading asks
            return _NO_VERDICTS.copy()
        rows = rows.astype(_VERDICT_TYPES).sort_values("at", kind="stable")
        if open_only:
            rows = rows.drop_duplicates(list(JUDGED), keep="last")
            rows = rows[rows["verdict"] == "quarantined"]
        return rows.iloc[::-1].reset_index(drop=True)

    # -- the whole ----------------------------------------------------------------------------

    @_operation
    def sources(self) -> set[str]:
        """Return the sources of values and the models of forecasts, without loading any."""
        return {channel.source for channel in self.backend.channels()}

    @_operation
    def inventory(self) -> pd.DataFrame:
        """Return one row per measurement, series, place, source and kind.

        Equal checksums mean equal content, in whatever order and backend.

        Returns
        -------
        DataFrame
            ``view.INVENTORY_COLUMNS``; forecasts count as measurement
            ``forecasts``, verdicts as ``verdicts``.
        """
        return view.inventory(self.backend, self.catalogue)

    @_operation
    def maintain(self) -> None:
        """Compact whatever the backend lets grow."""
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
    instant = None if as_of is None else epoch(as_of)
    return Window(tuple(series), epoch(start), epoch(end), tuple(places), instant)


def _around(rows: Rows) -> Window:
    """Return the smallest window that holds the rows."""
    series = tuple(dict.fromkeys(channel.series for channel in rows.channels))
    places = tuple(dict.fromkeys(channel.place for channel in rows.channels))
    return Window(series, int(rows["start"].min()), int(rows["start"].max()) + 1, places)
