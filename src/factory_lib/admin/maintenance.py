"""Maintenance: a check for damage, a backup, then old things are removed and the rest compacted."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

import pandas as pd

from factory_lib.admin import backup
from factory_lib.context import RunContext
from factory_lib.errors import StoreUnavailable
from factory_lib.models import registry
from factory_lib.results import JobResult
from factory_lib.runs import records
from factory_lib.state import alerts, calls, ticks

TICKS_KEPT = timedelta(days=400)  # rolled up by day: a year of them is small


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
    steps = [(name, *step(ctx, now)) for name, step in STEPS.items()]
    return summarise(pd.DataFrame(steps, columns=columns))


def summarise(steps: pd.DataFrame) -> JobResult:
    """Compose the result of the steps."""
    removed = dict(zip(steps["step"], map(int, steps["removed"]), strict=True))
    parts = [f"{count} {step}" for step, count in removed.items() if count]
    sentence = f"Backed up and sound. Removed: {', '.join(parts) or 'nothing, all is recent'}."
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


def _backups(ctx: RunContext, now: datetime) -> tuple[int, str]:
    made = backup.take_backup(ctx)
    old = backup.list_backups(ctx)[ctx.settings.retention.backups :]
    for folder in old:
        shutil.rmtree(folder)
    return len(old), f"new: {made}"


def _runs(ctx: RunContext, now: datetime) -> tuple[int, str]:
    horizon = now - timedelta(days=ctx.settings.retention.runs_days)
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
    for day in ctx.settings.paths.runs.glob("????-??-??"):
        if not any(day.iterdir()):
            day.rmdir()
    return removed, f"kept since {horizon:%Y-%m-%d}, and the newest of each job"


def _models(ctx: RunContext, now: datetime) -> tuple[int, str]:
    horizon = now - timedelta(days=ctx.settings.retention.runs_days)
    return registry.prune(ctx, horizon), "versions with an alias stay"


def _state(ctx: RunContext, now: datetime) -> tuple[int, str]:
    horizon = now - timedelta(days=ctx.settings.retention.calls_days)
    removed = calls.delete_calls_before(ctx.state, horizon)
    removed += ticks.delete_ticks_before(ctx.state, now - TICKS_KEPT)
    removed += alerts.delete_resolved_before(ctx.state, horizon)
    ctx.state.compact()
    return removed, "calls, ticks and resolved alerts"


def _store(ctx: RunContext, now: datetime) -> tuple[int, str]:
    ctx.store.maintain()
    return 0, "compacted; values are never removed"


def _logs(ctx: RunContext, now: datetime) -> tuple[int, str]:
    """Keep the end of each log, cut at a line."""
    limit = int(ctx.settings.retention.log_mb * 1e6)
    shortened = 0
    for name in ("cron.log", "alerts.jsonl"):
        file = ctx.settings.paths.data / name
        if file.is_file() and file.stat().st_size > limit:
            tail = file.read_bytes()[-limit:]
            # In place: the shells of cron hold the file open.
            file.write_bytes(tail[tail.index(b"\n") + 1 :])
            shortened += 1
    return shortened, "cron.log and alerts.jsonl"


STEPS: Mapping[str, Callable[[RunContext, datetime], tuple[int, str]]] = {
    "backups": _backups,
    "runs": _runs,
    "models": _models,
    "state": _state,
    "store": _store,
    "logs": _logs,
}
