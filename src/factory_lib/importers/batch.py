"""Members of one format on their way into the store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from factory_lib import frames
from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers.check import CheckedReading, check, rejection_table
from factory_lib.importers.files import Member
from factory_lib.importers.formats import FORMATS
from factory_lib.importers.provider_files import edition
from factory_lib.importers.reading import Reading, Rejection, join_readings
from factory_lib.pipeline import quality
from factory_lib.slots import from_index
from factory_lib.state import import_ledger
from factory_lib.store.base import Store, WriteResult

UNREADABLE = "unreadable"
SUPERSEDED = "superseded"


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


def import_members(ctx: RunContext, name: str, members: Sequence[Member]) -> ImportBatch:
    """Read, check and store; what the ledger does not call complete is visibly unfinished."""
    states = dict.fromkeys(_superseded(ctx, name, members), SUPERSEDED)
    members = [member for member in members if member.label not in states]
    import_ledger.record_start(ctx.state, members, name, ctx.clock.now())
    reading, readable, unreadable = _read(name, members)
    states |= dict.fromkeys((row.member for row in unreadable), UNREADABLE)
    if reading is None:
        return describe_members(name, states, unreadable)
    checked = check(reading, FORMATS[name], ctx.clock.now(), ctx.settings.quality, ctx.catalogue)
    done = import_ledger.completed_labels(ctx.state, readable)
    if done and not _is_still_stored(ctx.store, checked):
        done = set()  # the ledger has them, the store has lost them: store them again
    stored = _store(ctx, reading, checked, done)
    import_ledger.record_completion(ctx.state, readable, ctx.clock.now())
    states |= {m.label: "repeated" if m.label in done else "stored" for m in readable}
    batch = describe_members(name, states, unreadable)
    tables = {key: table.assign(format=name) for key, table in checked.tables.items()}
    rejected = pd.concat([tables["rejected"], batch.tables["rejected"]], ignore_index=True)
    return ImportBatch(
        batch.counts + checked.counts + stored,
        {**batch.tables, **tables, "rejected": rejected},
        reading.notes,
    )


def _superseded(ctx: RunContext, name: str, members: Sequence[Member]) -> set[str]:
    """Return the labels of members of which a later publication was imported before."""
    labels: set[str] = set()
    if FORMATS[name].editions:
        latest: Counter[str] = Counter()
        for subject, number in map(edition, import_ledger.completed_names(ctx.state, name)):
            latest[subject] = max(number, latest[subject])
        for member in members:
            subject, number = edition(member.name)
            if number < latest[subject]:
                labels.add(member.label)
    return labels


def _read(
    name: str, members: Sequence[Member]
) -> tuple[Reading | None, list[Member], list[Rejection]]:
    """Read the members; one that cannot be read costs only itself, unless it is the only one."""
    readings = []
    readable = []
    unreadable = []
    for member in members:
        try:
            readings.append(FORMATS[name].parse(member, FORMATS[name]))
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


def _store(
    ctx: RunContext, reading: Reading, checked: CheckedReading, done: set[str]
) -> Counter[str]:
    """Store what is not of members finished before, and count it.

    A later edition of a day is stored after the earlier one, which it revises.
    """
    rows = checked.rows[~checked.rows["member"].isin(done)]
    written = WriteResult(unchanged=len(checked.rows) - len(rows))
    for _, published in rows.groupby("edition"):
        written += ctx.store.write(
            frames.conform(published).reset_index(drop=True), run_id=ctx.run_id
        )
    for name, values in checked.tables["quarantined"].groupby("series", sort=False):
        quality.quarantine(ctx, _with_revision(ctx.store, str(name), values), "import")
    counts = Counter(new=written.new, revised=written.revised, unchanged=written.unchanged)
    if reading.forecasts is not None:
        forecasts = reading.forecasts[~reading.forecasts["member"].isin(done)]
        if len(forecasts):
            rows = forecasts[list(frames.FORECAST_COLUMNS)]
            counts["forecasts_new"] = ctx.store.write_forecasts(rows, run_id=ctx.run_id).written
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
