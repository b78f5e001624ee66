"""Upkeep: a backup, then what has grown old is let go of, and what stays is compacted and checked for damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from factory_lib.admin import backup
from factory_lib.context import RunContext
from factory_lib.errors import StoreUnavailable
from factory_lib.models import pruning
from factory_lib.runs import records
from factory_lib.state import alerts, calls, ticks

TICKS_KEPT = timedelta(days=400)  # rolled up by day: a year of them is small


@dataclass(frozen=True)
class Upkeep:
    """What was done.

    Attributes
    ----------
    steps : DataFrame
        ``step``, ``removed`` (how many things), ``note``.
    damage : tuple of str
        What an integrity check found.
    """

    steps: pd.DataFrame
    damage: tuple[str, ...]

    @property
    def level(self) -> str:
        """``fail`` if a database is damaged."""
        return "fail" if self.damage else "ok"

    @property
    def figures(self) -> dict[str, int]:
        """Key figures for the run record."""
        removed = zip(self.steps["step"], self.steps["removed"], strict=True)
        return {f"removed_{step}": int(count) for step, count in removed}

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.damage:
            return f"Damaged: {'; '.join(self.damage)}. Bring back a backup with `factory restore`."
        gone = ", ".join(
            f"{count} {step.removeprefix('removed_')}"
            for step, count in self.figures.items()
            if count
        )
        return f"Backed up and sound. Let go of: {gone or 'nothing, all is young'}."


def maintain(ctx: RunContext) -> Upkeep:
    """Do the weekly work; what is damaged is neither backed up over good copies nor compacted."""
    if damage := tuple(_damage(ctx)):
        return Upkeep(pd.DataFrame(columns=["step", "removed", "note"]), damage)
    now = ctx.clock.now()
    steps: dict[str, Callable[[RunContext, datetime], tuple[int, str]]] = {
        "backups": _backups,
        "runs": _runs,
        "models": _models,
        "state": _state,
        "store": _store,
        "logs": _logs,
    }
    done = [(name, *step(ctx, now)) for name, step in steps.items()]
    return Upkeep(pd.DataFrame(done, columns=["step", "removed", "note"]), ())


def _damage(ctx: RunContext) -> Iterator[str]:
    if damage := ctx.state.damage():
        yield f"{ctx.settings.paths.state.name}: {damage}"
    try:
        if check := getattr(ctx.store.backend, "check", None):
            check()
    except StoreUnavailable as error:
        yield error.message


def _backups(ctx: RunContext, now: datetime) -> tuple[int, str]:
    made = backup.take(ctx)
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
    return pruning.prune(ctx, horizon), "versions with an alias stay"


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
    most, cut = int(ctx.settings.retention.log_mb * 1e6), 0
    for file in (ctx.settings.paths.data / name for name in ("cron.log", "alerts.jsonl")):
        if file.is_file() and file.stat().st_size > most:
            tail = file.read_bytes()[-most:]
            file.write_bytes(tail[tail.index(b"\n") + 1 :])  # in place: cron's shells hold it open
            cut += 1
    return cut, "cron.log and alerts.jsonl"
