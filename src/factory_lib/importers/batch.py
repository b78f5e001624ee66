"""Members of one format on their way into the store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import SITE, Catalogue
from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers.check import CheckedReading, check, rejection_table
from factory_lib.importers.files import Member
from factory_lib.importers.provider_files import edition
from factory_lib.importers.reading import Format, Reading, Rejection, join_readings
from factory_lib.pipeline import quality
from factory_lib.pipeline.forecasts import store_forecasts
from factory_lib.slots import from_index
from factory_lib.state import import_ledger
from factory_lib.store.base import Store, WriteResult

UNREADABLE = "unreadable"
SUPERSEDED = "superseded"
WOULD_BE_STORED = "would be stored"


@dataclass(frozen=True)
class ImportBatch:
    """The import of the members of one format.

    Attributes
    ----------
    counts : Counter
        Every value that was read is new, revised, unchanged, older, rejected or
        repeated within the file: the six add up to ``values_read``.
    tables : mapping of str to DataFrame
        ``members`` and those of ``check.CheckedReading``.
    """

    counts: Counter[str]
    tables: dict[str, pd.DataFrame]
    notes: tuple[str, ...] = ()


def describe_members(
    name: str, states: Mapping[str, str], rejected: Sequence[Rejection] = ()
) -> ImportBatch:
    """Return a batch of which nothing was stored.

    Parameters
    ----------
    states : mapping of str to str
        By label of a member: stored, repeated (finished by an earlier import),
        superseded (a later publication is known), unreadable or unknown.
    """
    counts = Counter(states.values())
    counts.update(files=len(states), values_read=len(rejected), rejected=len(rejected))
    members = {"member": list(states), "format": name, "state": list(states.values())}
    tables = {
        "members": pd.DataFrame(members, dtype="str"),
        "rejected": rejection_table(rejected).assign(format=name),
    }
    return ImportBatch(counts, tables)


def import_members(
    ctx: RunContext, name: str, fmt: Format, members: Sequence[Member], *, dry_run: bool = False
) -> ImportBatch:
    """Read, check and store; what the ledger does not call complete is visibly unfinished."""
    if fmt.place == SITE:
        site = ctx.settings
        fmt = replace(fmt, place=site.site.places.plant, zone=site.plant.zone)
    superseded = _superseded(ctx, name, members) if fmt.editions else set()
    states = dict.fromkeys(superseded, SUPERSEDED)
    members = _without(members, superseded)
    if not dry_run:
        import_ledger.record_start(ctx.state, members, name, ctx.clock.now())
    reading, readable, unreadable = _read(fmt, members)
    states |= dict.fromkeys(map(_member, unreadable), UNREADABLE)
    if reading is None:
        return describe_members(name, states, unreadable)
    checked = check(reading, fmt, ctx.clock.now(), ctx.settings.quality, ctx.catalogue)
    if dry_run:
        states |= dict.fromkeys(map(_label, readable), WOULD_BE_STORED)
        tables = {**checked.tables, "preview": _preview(checked, ctx.catalogue)}
        return _batch(name, states, unreadable, checked.counts, tables, reading.notes)
    done = import_ledger.completed_labels(ctx.state, readable)
    if done and not _is_still_stored(ctx.store, checked):
        done = set()  # the ledger has them, the store has lost them: store them again
    stored = _store(ctx, checked, done)
    import_ledger.record_completion(ctx.state, readable, ctx.clock.now())
    states |= _final_states(readable, done)
    return _batch(name, states, unreadable, checked.counts + stored, checked.tables, reading.notes)


def _without(members: Sequence[Member], labels: set[str]) -> list[Member]:
    return [member for member in members if member.label not in labels]


def _label(member: Member) -> str:
    return member.label


def _member(row: Rejection) -> str:
    return row.member


def _final_states(readable: Sequence[Member], done: set[str]) -> dict[str, str]:
    return {_label(m): "repeated" if _label(m) in done else "stored" for m in readable}


def _batch(
    name: str,
    states: Mapping[str, str],
    unreadable: Sequence[Rejection],
    counts: Counter[str],
    tables: Mapping[str, pd.DataFrame],
    notes: tuple[str, ...],
) -> ImportBatch:
    """Join what was read of some members with what could not be read of others."""
    batch = describe_members(name, states, unreadable)
    named = {key: table.assign(format=name) for key, table in tables.items()}
    rejected = pd.concat([named["rejected"], batch.tables["rejected"]], ignore_index=True)
    joined = {**batch.tables, **named, "rejected": rejected}
    return ImportBatch(batch.counts + counts, joined, notes)


def _preview(checked: CheckedReading, catalogue: Catalogue) -> pd.DataFrame:
    """Return what would be stored: one row per series, place and source."""
    by = checked.rows.groupby(["series", "place", "source", "resolution_s"])
    spans = by.agg(
        first=("start", "min"),
        last=("start", "max"),
        values=("value", "size"),
        lowest=("value", "min"),
        mean=("value", "mean"),
        highest=("value", "max"),
    ).reset_index()
    units = {entry.name: entry.unit for entry in catalogue.values()}
    return spans.assign(unit=spans["series"].map(units))


def _superseded(ctx: RunContext, name: str, members: Sequence[Member]) -> set[str]:
    """Return the labels of members of which a later publication was imported before."""
    labels: set[str] = set()
    latest: Counter[str] = Counter()
    for subject, number in map(edition, import_ledger.completed_names(ctx.state, name)):
        latest[subject] = max(number, latest[subject])
    for member in members:
        subject, number = edition(member.name)
        if number < latest[subject]:
            labels.add(member.label)
    return labels


def _read(
    fmt: Format, members: Sequence[Member]
) -> tuple[Reading | None, list[Member], list[Rejection]]:
    """Read the members; one that cannot be read costs only itself, unless it is the only one."""
    readings = []
    readable = []
    unreadable = []
    for member in members:
        try:
            readings.append(fmt.read(member))
            readable.append(member)
        except ImportFileError as error:
            if len(members) == 1:
                raise
            unreadable.append(Rejection(member.label, "", error.problem))
    return join_readings(readings) if readings else None, readable, unreadable


def _is_still_stored(store: Store, checked: CheckedReading) -> bool:
    """Return whether the store shows every slot that the files filled, but for flagged ones."""
    flagged = checked.tables["quarantined"]
    for name, rows in checked.rows.groupby("series", sort=False):
        if store.catalogue[str(name)].forecast_of:
            continue  # those are compared one by one, whatever the ledger says
        flagged_slots = flagged.loc[flagged["series"] == name, "start"].nunique()
        starts = from_index(rows["start"])
        stored = store.slots(
            str(name),
            places=sorted(rows["place"].unique()),
            start=from_epoch(int(starts.min())),
            end=from_epoch(int(starts.max()) + 1),
        )
        if len(stored) < len(pd.unique(starts)) - flagged_slots:
            return False
    return True


def _store(ctx: RunContext, checked: CheckedReading, done: set[str]) -> Counter[str]:
    """Store what is not of members finished before, and count it.

    A later edition of a day is stored after the earlier one, which it revises.
    """
    rows = checked.rows[~checked.rows["member"].isin(done)]
    written = WriteResult(unchanged=len(checked.rows) - len(rows))
    names = [name for name in rows["series"].unique() if ctx.catalogue[name].forecast_of]
    is_forecast = rows["series"].isin(names)
    counts = Counter[str]()
    for _, forecasts in rows[is_forecast].groupby("series"):
        result = store_forecasts(ctx, frames.conform(forecasts).reset_index(drop=True))
        counts["forecasts_new"] += result.new
        written += result
    rows = rows[~is_forecast]
    for _, published in rows.groupby("edition"):
        written += ctx.store.write(
            frames.conform(published).reset_index(drop=True), run_id=ctx.run_id
        )
    for name, values in checked.tables["quarantined"].groupby("series", sort=False):
        quality.quarantine(ctx, _with_revision(ctx.store, str(name), values), "import")
    counts.update(new=written.new, revised=written.revised, unchanged=written.unchanged)
    if checked.forecasts is not None:
        forecasts = checked.forecasts[~checked.forecasts["member"].isin(done)]
        if len(forecasts):
            rows = forecasts[list(frames.FORECAST_COLUMNS)]
            counts["forecasts_new"] += ctx.store.write_forecasts(rows, run_id=ctx.run_id).written
    return counts


def _with_revision(store: Store, name: str, values: pd.DataFrame) -> pd.DataFrame:
    """Return values of a series with the ``rev`` under which the store holds them."""
    end = values["start"].max() + pd.Timedelta(seconds=1)
    stored = store.read(
        name,
        places=sorted(values["place"].unique()),
        start=values["start"].min().to_pydatetime(),
        end=end.to_pydatetime(),
        raw=True,
    )
    key = ["place", "source", "start", "value"]
    return values.merge(stored[[*key, "rev"]], on=key)
