"""The contract, once for every backend: judge and settle what arrives, confirm it, and show one value per slot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from factory_lib import series as catalogue
from factory_lib.clock import epoch
from factory_lib.errors import BadInput, WriteNotConfirmed
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.slots import Slots
from factory_lib.store import arrival, view
from factory_lib.store.base import VERDICT_COLUMNS, Backend, OnCall, Window, World, WriteResult
from factory_lib.store.checksums import inventory
from factory_lib.store.rows import Rows, times

_IDENTITY = ["series", "place", "source", "start", "rev"]


class Keeper:
    """A store on any backend; see ``base.Store`` for what each method promises."""

    def __init__(self, backend: Backend, on_call: OnCall | None = None) -> None:
        self.backend = backend
        self.world: World = backend.world
        self.on_call = on_call

    @contextmanager
    def _call(self, kind: str) -> Iterator[list[int]]:
        """Time one call; the caller leaves its number of rows in the list."""
        rows, began = [0], time.perf_counter()
        yield rows
        if self.on_call:
            self.on_call(kind, rows[0], (time.perf_counter() - began) * 1000)

    # -- values ---------------------------------------------------------------------------------------------------

    def write(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Append tidy rows; see ``base.Store.write``."""
        with self._call("write") as counted:
            total = WriteResult()
            measurement = rows["series"].map({s: catalogue.get(s).measurement for s in rows["series"].unique()})
            names = measurement.unique()
            for name in names:
                total += self._write(rows if len(names) == 1 else rows[measurement == name], name, run_id)
            counted[0] = len(rows)
            return total

    def _write(self, frame: pd.DataFrame, measurement: str, run_id: str) -> WriteResult:
        arriving, refused = arrival.admit(frame, run_id)
        if not len(arriving):
            return WriteResult(rejected=refused)
        window = _around(arriving)
        columns = ("channel", "start", "rev", "value")
        with self.backend.writing(measurement):
            added, result = arrival.settle(arriving, self.backend.load(window, columns=columns))
            if len(added):
                self.backend.append(added)
                self._confirm(added, self.backend.load(window, columns=columns))
        return result + WriteResult(rejected=refused)

    @staticmethod
    def _confirm(added: Rows, found: Rows) -> None:
        lost = int(arrival.absent(added, found).sum())
        if lost:
            raise WriteNotConfirmed(f"{lost} of {len(added)} rows were written and not found again.")

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
        """Return view rows; see ``base.Store.read``."""
        names = [series] if isinstance(series, str) else list(series)
        for name in names:
            coarsest = max(c.resolution_s for c in catalogue.get(name).cadences)
            if grid_s is not None and coarsest > grid_s:
                raise BadInput(f"{name} comes every {coarsest} s and cannot be read every {grid_s} s.")
        with self._call("read") as counted:
            rows = self.backend.load(_window(names, places, start, end, as_of))
            if raw:
                rows = view.in_series_order(rows, names)
            else:
                rows = view.best(self._shown(rows), names, places)
                if grid_s is not None:
                    rows = view.on_grid(rows, names, places, grid_s)
            counted[0] = len(rows)
            return view.frame_of(rows)

    def slots(
        self, series: str, *, places: Sequence[str], start: datetime, end: datetime, as_of: datetime | None = None
    ) -> Slots:
        """Return the starts of the slots that ``read`` would show; see ``base.Store.slots``."""
        with self._call("slots") as counted:
            window = _window([series], places, start, end, as_of)
            quarantined = self._quarantined([series])
            # A first value is known no later than its revisions: only a quarantine makes the others matter.
            columns = ("channel", "start", "rev")[: 2 + bool(len(quarantined))]
            rows = self.backend.load(window, columns=columns, first_only=quarantined.empty)
            good = view.countable(rows, quarantined)
            starts = rows["start"] if good.all() else rows["start"][good]
            if not (np.diff(starts) > 0).all():
                starts = np.unique(starts)
            counted[0] = len(starts)
            return starts

    def _shown(self, rows: Rows) -> Rows:
        good = view.countable(rows, self._quarantined([c.series for c in rows.channels]))
        return rows if good.all() else rows.take(good)

    def _quarantined(self, series: Sequence[str]) -> pd.DataFrame:
        rows = self.read_verdicts()
        return rows[rows["series"].isin(series)]

    # -- forecasts ------------------------------------------------------------------------------------------------

    def write_forecasts(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Store forecast rows; see ``base.Store.write_forecasts``."""
        with self._call("write_forecasts") as counted:
            arriving, refused = arrival.admit_forecasts(rows[list(FORECAST_COLUMNS)], run_id)
            counted[0] = len(rows)
            if not len(arriving):
                return WriteResult(rejected=refused)
            window = _around(arriving)
            with self.backend.writing("forecasts"):
                added, result = arrival.settle_forecasts(arriving, self.backend.load_forecasts(window))
                if len(added):
                    self.backend.append_forecasts(added)
                    left, _ = arrival.settle_forecasts(added, self.backend.load_forecasts(window))
                    if len(left):
                        raise WriteNotConfirmed(f"{len(left)} of {len(added)} forecasts were not found again.")
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
        """Return forecast rows, ``available_at`` and ``run_id``; see ``base.Store.read_forecasts``."""
        with self._call("read_forecasts") as counted:
            rows = self.backend.load_forecasts(_window([series], places, start, end, as_of))
            issued = times(rows["issued_at"])
            frame = pd.DataFrame(
                {
                    "series": rows.dimension("series"),
                    "place": rows.dimension("place"),
                    "model": rows.dimension("source"),
                    "issued_at": issued,
                    "target_start": times(rows["start"]),
                    "resolution_s": rows.dimension("resolution_s"),
                    **{name: rows[name] for name in ("p10", "p50", "p90")},
                    "tier": rows.texts("tier"),
                    "available_at": issued,
                    "run_id": rows.texts("run"),
                }
            )
            frame["trust"] = -frame["place"].map({place: i for i, place in enumerate(places)}).astype("int64")
            frame = frame.sort_values(["model", "target_start", "trust", "issued_at"], ignore_index=True)
            if models is not None:
                frame = frame[frame["model"].isin(list(models))]
            if latest:
                frame = frame.drop_duplicates(["model", "target_start"], keep="last")
            counted[0] = len(frame)
            return frame.drop(columns="trust").reset_index(drop=True)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def write_verdicts(self, rows: pd.DataFrame) -> int:
        """Append verdicts that are not there yet, and return how many; see ``base.Store.write_verdicts``."""
        unknown = set(rows["verdict"]) - {"quarantined", "released"}
        if unknown:
            raise BadInput(f"A verdict is quarantined or released, not {', '.join(sorted(unknown))}.")
        with self._call("write_verdicts") as counted, self.backend.writing("verdicts"):
            rows = _verdicts(rows)
            have = pd.MultiIndex.from_frame(_verdicts(self.backend.load_verdicts()))
            new = rows[~pd.MultiIndex.from_frame(rows).isin(have)].drop_duplicates()
            if len(new):
                self.backend.append_verdicts(new)
            counted[0] = len(new)
            return len(new)

    def read_verdicts(self, *, open_only: bool = True) -> pd.DataFrame:
        """Return the verdicts, newest first; ``open_only``: the last of each value, where it is a quarantine."""
        rows = _verdicts(self.backend.load_verdicts())
        if len(rows):
            rows = rows.sort_values("at", kind="stable", ignore_index=True)
            if open_only:
                rows = rows.drop_duplicates(_IDENTITY, keep="last")
                rows = rows[rows["verdict"] == "quarantined"]
        return rows.iloc[::-1].reset_index(drop=True)

    # -- the whole ------------------------------------------------------------------------------------------------

    def inventory(self) -> pd.DataFrame:
        """Return counts, extent and checksums; see ``base.Store.inventory``."""
        with self._call("inventory") as counted:
            frame = inventory(self.backend)
            counted[0] = int(frame["rows"].sum())
            return frame

    def maintain(self) -> None:
        """Compact whatever the backend lets grow."""
        with self._call("maintain"):
            self.backend.maintain()

    def close(self) -> None:
        """Release files and connections."""
        self.backend.close()


def _window(
    series: Sequence[str], places: Sequence[str], start: datetime, end: datetime, as_of: datetime | None
) -> Window:
    return Window(tuple(series), epoch(start), epoch(end), tuple(places), None if as_of is None else epoch(as_of))


def _around(rows: Rows) -> Window:
    """Return the smallest window that holds the rows."""
    series, places = (tuple(dict.fromkeys(getattr(c, part) for c in rows.channels)) for part in ("series", "place"))
    return Window(series, int(rows["start"].min()), int(rows["start"].max()) + 1, places)


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    types: Any = {**dict.fromkeys(VERDICT_COLUMNS, "str"), "rev": "int64", "start": UTC_S, "at": UTC_S}
    return rows[list(VERDICT_COLUMNS)].astype(types)
