"""Import of data files: read, checked, stored and counted; repeating an import changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError, OriginMismatch
from factory_lib.importers import files, formats
from factory_lib.importers.batch import (
    SUPERSEDED,
    UNREADABLE,
    ImportBatch,
    describe_members,
    import_members,
)
from factory_lib.importers.check import FINDINGS_BY_PLACE
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Format
from factory_lib.results import JobResult, ResultStatus

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
UNKNOWN_FORMAT = "unknown"
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
    *FINDINGS_BY_PLACE,
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
    if ctx.settings.simulated:
        raise OriginMismatch(
            f"{path} holds real values, and profile {ctx.settings.profile} is simulated."
        )
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
    batches = [
        import_members(ctx, name, among[name], members, dry_run=dry_run)
        for name, members in groups.items()
    ]
    batches.append(describe_members("", dict.fromkeys(unknown, UNKNOWN_FORMAT)))
    title = files.printable(path.name)
    return _joined(f"{title} (nothing was stored)" if dry_run else title, batches)


def _joined(path: str, batches: Sequence[ImportBatch]) -> JobResult:
    tables = {}
    for name in TABLE_NAMES:
        parts = [batch.tables[name] for batch in batches if name in batch.tables]
        tables[name] = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    counts = sum((batch.counts for batch in batches), Counter[str]())
    notes = dict.fromkeys(chain.from_iterable(batch.notes for batch in batches))
    return summarise(path, counts, tables, list(notes))


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
    if name is not None:
        formats.require_format(name, among)
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(name or formats.detect(member, among) or "", []).append(member)
    return groups


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
