"""The weekly maintenance, while other processes go on writing, and copies between backends.

It checks for damage, takes a backup and restores that into a temporary folder; then old
things are removed and the rest compacted.
"""

import gzip
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from msgspec import structs

from factory_lib.admin import backup
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, StoreUnavailable
from factory_lib.files import write_atomically
from factory_lib.models import registry
from factory_lib.results import JobResult
from factory_lib.runs import records
from factory_lib.settings import Settings
from factory_lib.settings.records import BackendName, StoreSettings
from factory_lib.state import alerts, calls, hold
from factory_lib.store import copying, create_store, open_store

COMPRESS_AFTER = timedelta(days=2)
TICKS_KEPT = timedelta(days=400)  # rolled up by day: a year of them is small


def copy_to(ctx: RunContext, backend: BackendName, bucket: str = "") -> pd.DataFrame:
    """Copy everything into another backend of this profile, or into another bucket.

    Returns
    -------
    DataFrame
        The inventory of the store in use, with the column ``copied``.

    Raises
    ------
    BadInput
        If that is the one in use.
    """
    place = _in_bucket(ctx.settings, bucket).influx
    if backend == ctx.settings.store.backend and place == ctx.settings.influx:
        raise BadInput(f"Profile {ctx.profile} already uses {backend}.")
    settings = structs.replace(ctx.settings, store=StoreSettings(backend), influx=place)
    with closing(open_store(settings)) as target:
        return copying.copy(ctx.store, target)


def make_store(settings: Settings, bucket: str = "") -> dict[str, str | bool]:
    """Make the store where it is missing; return what and where it is, and whether it was made."""
    settings = _in_bucket(settings, bucket)
    made = create_store(settings)
    backend = settings.store.backend
    servers = {"influx": settings.influx.bucket, "postgres": settings.schema}
    where = servers.get(backend, str(settings.paths.store))
    return {"backend": backend, "store": where, "made": made}


def _in_bucket(settings: Settings, bucket: str) -> Settings:
    """Return the settings with another bucket of InfluxDB, where one is named."""
    if not bucket:
        return settings
    return structs.replace(settings, influx=replace(settings.influx, bucket=bucket))


# -- maintenance --------------------------------------------------------------------------


def maintain(ctx: RunContext) -> JobResult:
    """Do the weekly work; a damaged database is neither backed up over good copies nor compacted.

    Returns
    -------
    JobResult
        ``fail`` if a database is damaged; with the table ``steps``: ``step``, ``removed``
        (number of things), ``note``.
    """
    columns = ["step", "removed", "note"]
    if damage := "; ".join(_damage(ctx)):
        sentence = f"Damaged: {damage}. Restore a backup with `factory restore`."
        return JobResult("fail", sentence, tables={"steps": pd.DataFrame(columns=columns)})
    now = ctx.clock.now()
    old = now - timedelta(days=ctx.settings.retention.runs_days)
    steps = [
        *([] if ctx.settings.site_id else _shared_steps(ctx, now, old)),
        ("runs", _remove_runs(ctx, old), f"kept since {old:%Y-%m-%d}, and the newest of each job"),
        ("reports", _shorten_runs(ctx, now), "older runs keep their record"),
        ("state", _shorten_state(ctx, now), "calls, ticks and resolved alerts"),
        ("logs", _shorten_logs(ctx), "cron.log and alerts.jsonl"),
    ]
    return summarise(pd.DataFrame(steps, columns=columns))


def _shared_steps(ctx: RunContext, now: datetime, old: datetime) -> list[tuple[str, int, str]]:
    """Maintain what all sites share; the first one does."""
    old_forecasts = now - timedelta(days=ctx.settings.retention.forecasts_days)
    steps = [
        ("backups", *_backups(ctx)),
        ("replaced", _remove_replaced(ctx, old), "files that a restore kept aside"),
        ("models", registry.prune(ctx, old), "versions with an alias stay"),
        (
            "forecasts",
            ctx.store.thin_forecasts(old_forecasts, ctx.settings.sources),
            "one issue a day stays; values all stay",
        ),
    ]
    ctx.store.maintain()
    return steps


def summarise(steps: pd.DataFrame) -> JobResult:
    """Compose the result of the steps."""
    removed = dict(zip(steps["step"], map(int, steps["removed"]), strict=True))
    parts = [f"{count} {step}" for step, count in removed.items() if count]
    done = "Backed up and sound" if "backups" in removed else "Sound"
    sentence = f"{done}. Removed: {', '.join(parts) or 'nothing, all is recent'}."
    metrics = {f"removed_{step}": count for step, count in removed.items()}
    return JobResult("ok", sentence, metrics, {"steps": steps})


def _damage(ctx: RunContext) -> Iterator[str]:
    if damage := ctx.state.damage():
        yield f"{ctx.settings.paths.state.name}: {damage}"
    try:
        if check := getattr(ctx.store.backend, "check", None):
            check()
    except StoreUnavailable as error:
        yield error.message


def _backups(ctx: RunContext) -> tuple[int, str]:
    made = backup.take_backup(ctx)
    _, inventory = backup.verify(ctx.settings, made)
    old = backup.list_backups(ctx.settings)[ctx.settings.retention.backups :]
    for folder in old:
        shutil.rmtree(folder)
    rows = int(inventory["rows"].sum())
    return len(old), f"new: {made}; restored into a temporary folder, {rows:,} rows equal"


def _remove_replaced(ctx: RunContext, horizon: datetime) -> int:
    """Remove what restores kept aside before ``horizon``."""
    folders = (ctx.settings.paths.data / backup.REPLACED).glob("*Z")
    old = [folder for folder in folders if folder.name < f"{horizon:{backup.STAMP}}"]
    for folder in old:
        shutil.rmtree(folder)
    return len(old)


def _remove_runs(ctx: RunContext, horizon: datetime) -> int:
    newest: set[str] = set()
    removed = 0
    for folder in list(records.folders(ctx.settings.paths.runs)):
        record = records.read_record(folder)
        if record.status == "unreadable":
            continue
        if (
            record.job in newest
            and datetime.fromisoformat(record.started_at) < horizon
            and record.status != "started"
        ):
            shutil.rmtree(folder)
            removed += 1
        newest.add(record.job)
    for day in ctx.settings.paths.runs.glob("????-??-??/"):
        if {file.name for file in day.iterdir()} <= {"index.html"}:
            shutil.rmtree(day)
    return removed


def _shorten_runs(ctx: RunContext, now: datetime) -> int:
    """Compress the notebooks of earlier days; remove the old pages of all but a day's last run.

    Return the number of runs of which the record alone is left.
    """
    compress_before = f"{now - COMPRESS_AFTER:%Y-%m-%d}"
    shorten_before = f"{now - timedelta(days=ctx.settings.retention.reports_days):%Y-%m-%d}"
    shortened = 0
    last: set[tuple[str, str]] = set()
    for folder in records.folders(ctx.settings.paths.runs):  # newest first
        day = folder.parent.name
        of_day = (day, records.job_of(folder))
        is_last = of_day not in last
        last.add(of_day)
        if day < shorten_before and not is_last:
            pages = [file for file in folder.iterdir() if file.name != "run.json"]
            for page in pages:  # a folder is JupyterLab's, of a notebook that was opened
                shutil.rmtree(page) if page.is_dir() else page.unlink()
            shortened += bool(pages)
        elif day < compress_before:
            _compress(folder / "notebook.ipynb")
    return shortened


def _compress(file: Path) -> None:
    """Replace a file by its gzip, which is written whole or not at all."""
    if file.is_file():
        write_atomically(file.with_name(f"{file.name}.gz"), gzip.compress(file.read_bytes(), 6))
        file.unlink()


def _shorten_state(ctx: RunContext, now: datetime) -> int:
    horizon = now - timedelta(days=ctx.settings.retention.calls_days)
    removed = calls.delete_calls_before(ctx.state, horizon)
    removed += calls.delete_ticks_before(ctx.state, now - TICKS_KEPT)
    removed += alerts.delete_resolved_before(ctx.state, horizon)
    ctx.state.compact()
    return removed


def _shorten_logs(ctx: RunContext) -> int:
    """Keep the end of each log, cut at a line."""
    limit = int(ctx.settings.retention.log_mb * 1e6)
    shortened = 0
    with hold(ctx.settings, "alerts", wait=True):  # as who appends one does
        for name in ("cron.log", "alerts.jsonl"):
            file = ctx.settings.paths.data / name
            if file.is_file() and (size := file.stat().st_size) > limit:
                # In place: the shells of cron hold the file open.
                file.write_bytes(file.read_bytes()[size - limit :].partition(b"\n")[2])
                shortened += 1
    return shortened
