"""Import of data files: read, checked, stored and counted; repeating an import changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import SITE, Catalogue
from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, ImportFileError, OriginMismatch
from factory_lib.importers import check, files, formats
from factory_lib.importers.check import CheckedReading
from factory_lib.importers.files import Member
from factory_lib.importers.provider_files import edition
from factory_lib.importers.reading import Format, Reading, Rejection, join_readings
from factory_lib.pipeline import quality
from factory_lib.pipeline.forecasts import store_forecasts
from factory_lib.results import JobResult, ResultStatus
from factory_lib.settings import Settings
from factory_lib.slots import from_index
from factory_lib.state import import_ledger
from factory_lib.store.base import Store, WriteResult

__all__ = ["HISTORY_PATTERNS", "import_history", "import_path"]

HISTORY_PATTERNS = (
    "spot_es_hourly_*",
    "omie_15min_*",
    "pvpc_pcb_daily_json_*",
    "es_energy_*",
    "gas_*",
    "es_weather_*",
    "entsoe_day_ahead_forecasts_*",
    "siar_*",
    "aemet*",
)
# States of a member of which nothing was stored.
UNKNOWN_FORMAT = "unknown"
UNREADABLE = "unreadable"
SUPERSEDED = "superseded"  # a later publication is known
WOULD_BE_STORED = "would be stored"
METRICS = (
    "files",
    "values_read",
    "new",
    "revised",
    "unchanged",
    "repeated_values",
    "forecasts_new",
    "rejected",
    "quarantined",
    *check.FINDINGS_BY_PLACE,
    UNREADABLE,
    UNKNOWN_FORMAT,
    SUPERSEDED,
)
_FINDINGS = {
    "rejected": "rejected",
    "quarantined": "in quarantine",
    "missing_days": "days missing",
    "incomplete_days": "days incomplete",
    "empty_days": "days empty",
    "duplicates": "duplicate lines",
    "frozen_hours": "hours frozen",
    UNREADABLE: "files unreadable",
    UNKNOWN_FORMAT: "files of no known format",
    SUPERSEDED: "files superseded",
}
TABLE_NAMES = ("members", "rejected", "repeated", "quarantined", "places", "missing", "preview")


def import_path(
    ctx: RunContext, path: Path, *, format: str | None = None, dry_run: bool = False
) -> JobResult:
    """Import a file, an archive, or every file in a folder and below.

    Parameters
    ----------
    path : Path
        Plain, gzip, tar or tar.gz; a folder may mix formats.
    format : str, optional
        One of ``formats.FORMATS``, when the content does not show it.
    dry_run : bool
        Read and check, and store nothing: table ``preview`` shows what would be stored.

    Returns
    -------
    JobResult
        Tables: ``members``, one row per file or archive entry with its format and
        state; ``rejected`` and ``repeated`` lines; ``quarantined`` values; ``places``
        and ``missing`` days (``check.CheckedReading``).

    Raises
    ------
    ImportFileError
        If nothing under ``path`` can be read; nothing was stored then.
    OriginMismatch
        If the profile is simulated: files hold real values.
    """
    among = formats.formats_of(ctx.settings.series)
    groups = _by_format(files.members(path), format, among)
    unknown = [member.label for member in groups.pop("", [])]
    if not groups:
        raise ImportFileError(
            str(path),
            "is in no known format",
            next_step="A table needs columns such as "
            f"{', or '.join(formats.EXAMPLES)}. Or name a format with --format: "
            f"{', '.join(among)}.",
        )
    if ctx.settings.simulated:
        raise OriginMismatch(
            f"{path} holds real values, and profile {ctx.settings.profile} is simulated."
        )
    report = ImportReport()
    for name, members in groups.items():
        _import_members(ctx, report, name, among[name], members, dry_run=dry_run)
    report.add_members("", dict.fromkeys(unknown, UNKNOWN_FORMAT))
    title = files.printable(path.name)
    return report.result(f"{title} (nothing was stored)" if dry_run else title)


def import_history(ctx: RunContext, folder: Path) -> list[JobResult]:
    """Import the public history files of ``folder`` (``HISTORY_PATTERNS``), one result each.

    Raises
    ------
    ImportFileError
        If the folder holds none of them.
    """
    paths = [file for pattern in HISTORY_PATTERNS for file in sorted(folder.glob(pattern))]
    if not paths:
        raise ImportFileError(
            str(folder),
            f"holds none of {', '.join(HISTORY_PATTERNS)}",
            next_step="Name the folder.",
        )
    return [import_path(ctx, path) for path in paths]


def _by_format(
    members: Sequence[Member], name: str | None, among: Mapping[str, Format]
) -> dict[str, list[Member]]:
    """Group members by format; those of none are under the empty name."""
    if name not in (None, *among):
        raise BadInput(
            f"There is no import format {name!r}.", next_step=f"Known: {', '.join(among)}."
        )
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(name or formats.detect(member, among) or "", []).append(member)
    return groups


class ImportReport:
    """Counts, tables and notes of an import, which grow with every format.

    Attributes
    ----------
    counts : Counter
        Every value that was read is new, revised, unchanged, older, rejected or
        repeated within the file: the six add up to ``values_read``.
    """

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLE_NAMES}
        self._notes: list[str] = []

    def add(self, name: str, tables: Mapping[str, pd.DataFrame], notes: Sequence[str] = ()) -> None:
        """Add tables of one format."""
        for key, table in tables.items():
            self._tables[key].append(table.assign(format=name))
        self._notes += notes

    def add_members(
        self, name: str, states: Mapping[str, str], unreadable: Sequence[Rejection] = ()
    ) -> None:
        """Add the members of one format: by label, whether they were stored, or why not."""
        members = {"member": list(states), "format": name, "state": list(states.values())}
        rejected = check.rejection_table(unreadable)
        self.add(name, {"members": pd.DataFrame(members, dtype="str"), "rejected": rejected})
        self.counts.update(states.values())
        count = len(unreadable)
        self.counts.update(files=len(states), values_read=count, rejected=count)

    def result(self, title: str) -> JobResult:
        """Return the result of the import."""
        tables = {
            name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
            for name, parts in self._tables.items()
        }
        return summarise(title, self.counts, tables, list(dict.fromkeys(self._notes)))


def _import_members(
    ctx: RunContext,
    report: ImportReport,
    name: str,
    fmt: Format,
    members: Sequence[Member],
    *,
    dry_run: bool,
) -> None:
    """Read, check and store; what the ledger does not call complete is visibly unfinished."""
    fmt = _at_site(fmt, ctx.settings)
    superseded = _superseded(ctx, name, members) if fmt.editions else set()
    states = dict.fromkeys(superseded, SUPERSEDED)
    members = [member for member in members if member.label not in superseded]
    if not dry_run:
        import_ledger.record_start(ctx.state, _contents(members), name, ctx.clock.now())
    readings, readable, unreadable = _read(fmt, members)
    states |= {row.member: UNREADABLE for row in unreadable}
    if readings:
        reading = join_readings(readings)
        now = ctx.clock.now()
        checked = check.check(reading, fmt, now, ctx.settings.quality, ctx.catalogue)
        report.add(name, checked.tables, reading.notes)
        report.counts.update(checked.counts)
        if dry_run:
            report.add(name, {"preview": _preview(checked, ctx.catalogue)})
            states |= {member.label: WOULD_BE_STORED for member in readable}
        else:
            states |= _store_members(ctx, report, name, readable, checked)
    report.add_members(name, states, unreadable)


def _at_site(fmt: Format, settings: Settings) -> Format:
    """Return the format with the places of the site whose values it holds."""
    if fmt.own_market:
        return replace(fmt, place=settings.site.places.prices[0])
    if fmt.place == SITE:
        return replace(fmt, place=settings.site.places.plant, zone=settings.plant.zone)
    return fmt


def _contents(members: Sequence[Member]) -> list[import_ledger.Content]:
    return [import_ledger.Content(member.sha256, member.name) for member in members]


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
    completed = import_ledger.completed_contents(ctx.state, name)
    latest = dict(sorted(edition(content.member) for content in completed))
    labels: set[str] = set()
    for member in members:
        subject, number = edition(member.name)
        if number < latest.get(subject, 0):
            labels.add(member.label)
    return labels


def _read(
    fmt: Format, members: Sequence[Member]
) -> tuple[list[Reading], list[Member], list[Rejection]]:
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
    return readings, readable, unreadable


def _store_members(
    ctx: RunContext,
    report: ImportReport,
    name: str,
    members: Sequence[Member],
    checked: CheckedReading,
) -> dict[str, str]:
    """Store what no earlier import completed, or the store has lost; return the members' states."""
    completed = import_ledger.completed_contents(ctx.state, name)
    contents = _contents(members)
    pairs = zip(members, contents, strict=True)
    done = {member.label for member, content in pairs if content in completed}
    if done and not _is_still_stored(ctx.store, checked):
        done = set()
    report.counts.update(_store(ctx, checked, done))
    import_ledger.record_completion(ctx.state, contents, ctx.clock.now())
    return {member.label: "repeated" if member.label in done else "stored" for member in members}


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


def summarise(
    path: str,
    counts: Mapping[str, int],
    tables: Mapping[str, pd.DataFrame],
    notes: Sequence[str],
) -> JobResult:
    """Return the result of the import of ``path``.

    It fails where something could not be read, so that the import is incomplete, and
    warns of everything that a person should look at.
    """
    metrics = {name: counts.get(name, 0) for name in METRICS}
    findings = [f"{metrics[name]:,} {words}" for name, words in _FINDINGS.items() if metrics[name]]
    status: ResultStatus = "warn" if findings else "ok"
    if metrics[UNREADABLE] or 0 < metrics["values_read"] == metrics["rejected"]:
        status = "fail"
    parts = [f"{metrics['values_read']:,} values read"]
    parts += [f"{metrics[name]:,} {name}" for name in ("new", "revised", "unchanged")]
    if metrics["forecasts_new"]:
        parts.append(f"{metrics['forecasts_new']:,} forecasts stored")
    text = f"{path}: {', '.join([*parts, *findings])}."
    return JobResult(status, text, {"path": path, **metrics}, tables, tuple(notes))
