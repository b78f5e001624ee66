"""Commands on stored values: import, gaps, backfill, export, quarantine."""

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pandas as pd

from factory_lib import importers
from factory_lib import settings as factory_settings
from factory_lib.admin.export import export_view
from factory_lib.cli.common import (
    Command,
    Rows,
    as_of_option,
    by_option,
    common_options,
    in_context,
    write_result,
    write_rows,
)
from factory_lib.clock import display_zone, parse_instant
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, SourceError
from factory_lib.importers.formats import FORMATS
from factory_lib.pipeline import backfill, gaps, quality, summary
from factory_lib.results import JobResult
from factory_lib.runs import simulation

commands = click.Group()


@commands.command("import")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="[FORMAT] PATH..."
)
@click.option("--format", "fmt", help="When the content does not show it.")
@click.option("--dry-run", is_flag=True, help="Show what would be stored, and store nothing.")
@common_options
def import_files(
    profile: str | None, paths: tuple[Path, ...], fmt: str | None, dry_run: bool, as_json: bool
) -> int:
    """Import data files or folders, or the plant's records.

    `import meter FILE` and `import production FILE` read the plant's own records. Repeating an
    import changes nothing.
    """
    files = list(paths)
    if fmt is None and len(files) > 1 and str(files[0]) in FORMATS:
        # A first word that names a format stands for --format, unless there is such a file.
        fmt = None if files[0].exists() else str(files.pop(0))
    with open_context(profile, read_only=dry_run) as ctx:
        results = [importers.import_path(ctx, path, format=fmt, dry_run=dry_run) for path in files]
    return write_imports(results, as_json)


def write_imports(results: Sequence[JobResult], as_json: bool = False) -> int:
    """Write the results of imports; return 1 where something could not be read."""
    codes = [write_result(result, as_json, "preview", "missing", "rejected") for result in results]
    return max(codes, default=0)


@commands.command("gaps")
@click.option("--since", help="First market day (default: the look-back of the settings).")
@as_of_option
@in_context("accounting", "gaps", read_only=True)
def account(ctx: RunContext, since: str | None) -> JobResult:
    """Account for every slot and list the gaps."""
    start, _ = _window(since, None, ctx.as_of)
    return summary.summarise_gaps(gaps.analyse(ctx, start))


@commands.command("backfill")
@click.option("--since", help="First market day (default: the look-back of the settings).")
@click.option("--until", help="End of the window, exclusive.")
@click.option("--dry-run", is_flag=True, help="Show the plan without any request.")
@as_of_option
@common_options
def fill_gaps(
    profile: str | None,
    since: str | None,
    until: str | None,
    as_of: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Fill what is missing and report what was really recovered.

    `--since DATE` is the first load of a new installation: prices, weather and the operators'
    forecasts. Interrupted, it goes on where it was.
    """
    with (
        simulation.ensure_running(factory_settings.load(profile)) as settings,
        open_context(settings=settings, as_of=as_of, read_only=dry_run) as ctx,
        click.progressbar(
            length=0, file=sys.stderr, hidden=not sys.stderr.isatty(), show_pos=True, show_eta=False
        ) as bar,
    ):
        result = backfill.backfill(
            ctx,
            *_window(since, until, ctx.as_of),
            automatic=False,
            dry_run=dry_run,
            progress=lambda progress: _advance(bar, progress, ctx.clock.now()),
        )
    failed = write_result(result, as_json, "plan", "by_source", "remaining")
    return SourceError.exit_code if failed and result.metrics["providers_away"] else failed


def _advance(bar: Any, progress: backfill.Progress, now: datetime) -> None:
    """Show the requests of a backfill that were made."""
    end = (now + timedelta(seconds=progress.remaining_s)).astimezone(display_zone())
    bar.length = progress.planned
    bar.label = f"Requests, until about {end:%H:%M} at the rate limits"
    bar.update(progress.done - bar.pos)


def _window(
    since: str | None, until: str | None, as_of: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the ends of a window as instants, after checking that it begins before ``as_of``."""
    end = parse_instant(until) if until else None
    if since is None:
        return None, end
    start = parse_instant(since)
    if start >= as_of:
        message = f"{since} has not come yet: nothing of it can be missing."
        raise BadInput(message, next_step="Give a day that has begun.")
    return (_bounded(since, until)[0] if until else start), end


def _bounded(since: str, until: str) -> tuple[datetime, datetime]:
    """Return both ends of a window as instants.

    Raises
    ------
    BadInput
        If there is nothing between them.
    """
    start = parse_instant(since)
    end = parse_instant(until)
    if start >= end:
        message = f"Nothing lies between {since} and {until}."
        raise BadInput(message, next_step="Swap or move them.")
    return start, end


@commands.command("export")
@click.argument("what", nargs=-1, required=True, metavar="WHAT...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File ending in .csv or .parquet.",
)
@click.option("--since", required=True, help="First instant or market day.")
@click.option("--until", required=True, help="End of the window, exclusive.")
@as_of_option
@common_options
def export(
    profile: str | None,
    what: tuple[str, ...],
    out: Path,
    since: str,
    until: str,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Write a view to CSV or Parquet, with units and provenance.

    WHAT is series, or one of accounting, gaps, forecasts (of series), features, plan. Exit code
    1 where it is empty.
    """
    with open_context(profile, as_of, read_only=True) as ctx:
        rows = export_view(ctx, what, out, *_bounded(since, until))
    write_rows([{"rows": rows, "file": str(out)}], as_json)
    return int(rows == 0)


@commands.group("quarantine")
@common_options
def quarantined(profile: str | None, as_json: bool) -> None:
    """List quarantined values; release, reject or correct values."""


@quarantined.command("list")
@click.argument("series", required=False)
@in_context(read_only=True)
def list_quarantined(ctx: RunContext, series: str | None) -> pd.DataFrame:
    """List quarantined values."""
    return quality.open_decisions(ctx, series)


def _selection(command: Command) -> Command:
    """Add the options that select values of one series and name the reason."""
    for option in (
        click.argument("series"),
        click.option("--since", required=True, help="First instant or market day."),
        click.option("--until", required=True, help="End of the window, exclusive."),
        click.option("--source", help="Of this provider alone."),
        click.option("--reason", required=True, help="Kept beside the values."),
        by_option,
    ):
        command = option(command)
    return command


@quarantined.command("release")
@_selection
@in_context()
def release(ctx: RunContext, reason: str, by: str, **values: Any) -> Rows:
    """Release quarantined values, so that they are used again."""
    count = quality.record_decision(ctx, _selected(**values), "released", reason, by)
    return [{"values": count, "action": "release", "by": by}]


@quarantined.command("reject")
@_selection
@in_context()
def reject(ctx: RunContext, reason: str, by: str, **values: Any) -> Rows:
    """Quarantine values, so that they are not used."""
    count = quality.record_decision(ctx, _selected(**values), "quarantined", reason, by)
    return [{"values": count, "action": "reject", "by": by}]


@quarantined.command("correct")
@click.option("--value", type=float, required=True, help="The right value.")
@_selection
@in_context()
def correct(ctx: RunContext, value: float, reason: str, by: str, **values: Any) -> Rows:
    """Store a revision of each value; the old one stays readable."""
    count = quality.correct(ctx, _selected(**values), value, reason, by)
    return [{"values": count, "action": "correct", "by": by}]


def _selected(series: str, since: str, until: str, source: str | None) -> quality.Selection:
    return quality.Selection(series, *_bounded(since, until), source)
