"""Members of one format on their way into the store."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from factory_lib import frames
from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers import detect, report
from factory_lib.importers.check import Checked, check
from factory_lib.importers.files import Member
from factory_lib.importers.omie_daily import edition
from factory_lib.importers.reading import Reading, join, rejected
from factory_lib.importers.report import ImportReport
from factory_lib.pipeline import quality
from factory_lib.slots import from_index
from factory_lib.state import import_ledger
from factory_lib.store.base import Store, WriteResult

_AUTHOR = "import"


def import_members(ctx: RunContext, path: str, fmt: str, members: Sequence[Member]) -> ImportReport:
    """Read, judge and store; what the ledger does not call complete at the end is visibly unfinished."""
    members, superseded = _superseded(ctx, fmt, members)
    import_ledger.record_start(ctx.state, members, fmt, ctx.clock.now())
    reading, readable, unreadable = _read(fmt, members)
    states = dict.fromkeys((member.label for member in superseded), report.SUPERSEDED)
    states |= dict.fromkeys(unreadable["member"], report.UNREADABLE)
    if reading is None:
        listed = report.listed(states, fmt)
        return ImportReport(
            path=path, members=listed, rejected=unreadable, values_read=len(unreadable)
        )
    checked = check(reading, ctx.clock.now(), ctx.settings.quality, ctx.catalogue)
    done = import_ledger.completed_labels(ctx.state, readable)
    if done and not _still_there(ctx.store, checked):
        done = set()  # the ledger remembers, the store has lost it: store it again
    written = _write(ctx, checked, done)
    forecasts = _write_forecasts(ctx, reading, done)
    for name, marks in checked.marks.groupby("series", sort=False):
        quality.quarantine(ctx, _in_store(ctx.store, str(name), marks), _AUTHOR)
    import_ledger.record_completion(ctx.state, readable, ctx.clock.now(), _per_member(checked))
    states |= {m.label: report.REPEATED if m.label in done else report.STORED for m in readable}
    return ImportReport(
        path=path,
        members=report.listed(states, fmt),
        written=written,
        forecasts=forecasts,
        rejected=pd.concat([checked.rejected, unreadable], ignore_index=True),
        repeated=checked.repeated,
        marks=checked.marks,
        accounts=checked.accounts.assign(format=fmt),
        missing=checked.missing.assign(format=fmt),
        values_read=checked.values_read + len(unreadable),
        duplicate_values=checked.duplicate_values,
        notes=reading.notes,
    )


def _superseded(
    ctx: RunContext, fmt: str, members: Sequence[Member]
) -> tuple[list[Member], list[Member]]:
    """Separate the daily files of which a later publication was imported before: the earlier one is history."""
    if fmt != "omie_daily":
        return list(members), []
    latest: dict[str, int] = {}
    for name in import_ledger.completed_names(ctx.state, fmt):
        about, number = edition(name)
        latest[about] = max(number, latest.get(about, 0))
    older = [m for m in members if edition(m.name)[1] < latest.get(edition(m.name)[0], 0)]
    return [m for m in members if m not in older], older


def _read(fmt: str, members: Sequence[Member]) -> tuple[Reading | None, list[Member], pd.DataFrame]:
    """Read all members together, or one by one where that fails, so that a bad one costs only itself."""
    read = detect.named(fmt).read
    if not members:
        return None, [], rejected()
    try:
        return read(members), list(members), rejected()
    except ImportFileError:
        if len(members) == 1:
            raise
    good, readings, problems = [], [], []
    for member in members:
        try:
            readings.append(read([member]))
            good.append(member)
        except ImportFileError as error:
            problems.append((member.label, error.problem))
    labels, reasons = zip(*problems, strict=True)
    return (
        join(readings) if readings else None,
        good,
        rejected(member=list(labels), reason=list(reasons)),
    )


def _still_there(store: Store, checked: Checked) -> bool:
    """Whether the store shows a value in every slot that the files filled, quarantined ones aside."""
    for name, rows in checked.rows.groupby("series", sort=False):
        marked = checked.marks.loc[checked.marks["series"] == name, "start"]
        starts = from_index(rows["start"])
        window = {"start": from_epoch(int(starts.min())), "end": from_epoch(int(starts.max()) + 1)}
        held = store.slots(str(name), places=sorted(rows["place"].unique()), **window)
        if len(held) < len(pd.unique(starts)) - len(marked.unique()):
            return False
    return True


def _write(ctx: RunContext, checked: Checked, done: set[str]) -> WriteResult:
    """Write what is not from members finished before; a later edition of a day after the earlier, which it revises."""
    fresh = checked.rows[~checked.rows["member"].isin(done)]
    parts = [
        ctx.store.write(frames.conform(rows).reset_index(drop=True), run_id=ctx.run_id)
        for _, rows in fresh.groupby("edition")
    ]
    return sum(parts, WriteResult(unchanged=len(checked.rows) - len(fresh)))


def _write_forecasts(ctx: RunContext, reading: Reading, done: set[str]) -> WriteResult:
    if reading.forecasts is None:
        return WriteResult()
    fresh = reading.forecasts[~reading.forecasts["member"].isin(done)]
    known = WriteResult(unchanged=len(reading.forecasts) - len(fresh))
    if not len(fresh):
        return known
    return known + ctx.store.write_forecasts(
        fresh[list(frames.FORECAST_COLUMNS)], run_id=ctx.run_id
    )


def _in_store(store: Store, name: str, marks: pd.DataFrame) -> pd.DataFrame:
    """Return the marks with the ``rev`` under which the store holds their value."""
    first, last = (
        marks["start"].min().to_pydatetime(),
        marks["start"].max() + pd.Timedelta(seconds=1),
    )
    places = sorted(marks["place"].unique())
    held = store.read(name, places=places, start=first, end=last.to_pydatetime(), raw=True)
    return marks.merge(
        held[["place", "source", "start", "value", "rev"]], on=["place", "source", "start", "value"]
    )


def _per_member(checked: Checked) -> dict[str, dict[str, int]]:
    """Return what the ledger keeps of each member."""
    stored, bad = checked.rows["member"].value_counts(), checked.rejected["member"].value_counts()
    return {
        str(label): {"values": int(stored.get(label, 0)), "rejected": int(bad.get(label, 0))}
        for label in stored.index.union(bad.index)
    }
