"""The data commands: import, gaps, backfill, in words for a person or JSON for a machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from factory_lib import importers
from factory_lib import settings as _settings
from factory_lib.cli import simulation
from factory_lib.clock import parse_instant
from factory_lib.context import open_context
from factory_lib.errors import BadInput, SourceError
from factory_lib.importers import detect
from factory_lib.pipeline import backfill as filling
from factory_lib.pipeline import gaps as accounting

if TYPE_CHECKING:
    from factory_lib.views.page import Outcome

SHOWN_ROWS = 20


def import_paths(
    profile: str | None, paths: Sequence[Path], fmt: str | None, *, as_json: bool = False
) -> int:
    """Import files or folders; say for each what was read, stored, rejected and why.

    A first word that names a format, such as ``meter``, stands for ``--format`` unless
    there is a file of that name.
    """
    if fmt is None and len(paths) > 1 and str(paths[0]) in detect.FORMATS and not paths[0].exists():
        fmt, paths = str(paths[0]), paths[1:]
    with open_context(profile) as ctx:
        return report_imports(
            [importers.import_path(ctx, path, format=fmt) for path in paths], as_json=as_json
        )


def report_imports(reports: Sequence[importers.ImportReport], *, as_json: bool = False) -> int:
    """Print import reports and return the exit code: 1 where something could not be read."""
    for told in reports:
        say(told, {"missing": told.missing, "rejected": told.rejected}, as_json)
    return int(any(told.level == "fail" for told in reports))


def gaps(
    profile: str | None, since: str | None, as_of: str | None, *, as_json: bool = False
) -> int:
    """Account for every slot; list the gaps."""
    with open_context(profile, as_of) as ctx:
        start, _ = _window(since, None, ctx.as_of)
        told = accounting.analyse(ctx, start)
        say(told, {"accounting": told.accounting, "gaps": told.gaps}, as_json)
    return int(told.level == "fail")


def backfill(
    profile: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
    *,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Fill what is missing and count in the store what was recovered."""
    with (
        simulation.provided(_settings.load(profile)) as settings,
        open_context(settings=settings, as_of=as_of) as ctx,
        tqdm(unit="request", disable=not sys.stderr.isatty()) as bar,
    ):
        told = filling.backfill(
            ctx,
            *_window(since, until, ctx.as_of),
            automatic=False,
            dry_run=dry_run,
            progress=lambda at: _advance(bar, at),
        )
    say(
        told, {"plan": told.plan, "by_source": told.by_source, "remaining": told.remaining}, as_json
    )
    return (
        0
        if told.level != "fail"
        else SourceError.exit_code
        if told.figures["providers_away"]
        else 1
    )


def _window(
    since: str | None, until: str | None, as_of: datetime | None = None
) -> tuple[datetime | None, datetime | None]:
    """Return the ends of a window as instants.

    Raises
    ------
    BadInput
        If there is nothing between them, or nothing before ``as_of``.
    """
    start, end = (parse_instant(text) if text else None for text in (since, until))
    last = min(filter(None, (end, as_of)), default=None)
    if start and last and start >= last:
        raise BadInput(
            f"Nothing lies between {since} and {until or last.isoformat()}.",
            next_step="Swap or move them.",
        )
    return start, end


def _advance(bar: Any, at: filling.Progress) -> None:
    bar.total, bar.n = at.planned, at.done
    bar.set_postfix_str(f"about {at.remaining_s:.0f} s left at the rate limits")


def say(told: Outcome, frames: Mapping[str, pd.DataFrame], as_json: bool) -> None:
    """Print an outcome and its tables."""
    if as_json:
        tables = {
            name: json.loads(frame.to_json(orient="records", date_format="iso"))
            for name, frame in frames.items()
        }
        fields = {
            "level": told.level,
            "verdict": told.verdict,
            "figures": dict(told.figures),
            **tables,
        }
        sys.stdout.write(json.dumps(fields, default=str) + "\n")
        return
    sys.stdout.write(f"{told.verdict}\n")
    for name, frame in frames.items():
        if len(frame):
            more = f" (first {SHOWN_ROWS} of {len(frame):,})" if len(frame) > SHOWN_ROWS else ""
            sys.stdout.write(f"\n{name}{more}:\n{frame.head(SHOWN_ROWS).to_string(index=False)}\n")
