"""Import of data files: read, judge, store, account; complete or visibly incomplete, and twice is as good as once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError, OriginMismatch
from factory_lib.importers import detect, files, report
from factory_lib.importers.batch import import_members
from factory_lib.importers.files import Member
from factory_lib.importers.reading import join
from factory_lib.importers.report import ImportReport

__all__ = ["HISTORY_PATTERNS", "ImportReport", "import_history", "import_path"]

HISTORY_PATTERNS = (
    "spot_es_hourly_*",
    "omie_15min_*",
    "pvpc_pcb_daily_json_*",
    "es_energy_*",
    "gas_*",
    "es_weather_*",
    "siar_*",
    "aemet*",
)


def import_path(ctx: RunContext, path: Path, *, format: str | None = None) -> ImportReport:
    """Import a file, an archive, or every file in a folder and below.

    Parameters
    ----------
    path : Path
        Plain, gzip, tar or tar.gz; a folder may mix formats.
    format : str, optional
        One of ``detect.FORMATS``, when the content does not tell.

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
    groups = _by_format(files.members(path), format)
    unknown = groups.pop("", [])
    if not groups:
        raise ImportFileError(
            str(path),
            "is in no known format",
            next_step=f"Name one with --format: {', '.join(detect.FORMATS)}.",
        )
    shown = files.printable(path.name)
    parts = [import_members(ctx, shown, name, members) for name, members in groups.items()]
    if unknown:
        listed = report.listed({member.label: report.UNKNOWN for member in unknown}, "")
        parts.append(ImportReport(path=shown, members=listed))
    return join(parts)


def import_history(ctx: RunContext, folder: Path) -> list[ImportReport]:
    """Import the public history files found in ``folder`` (``HISTORY_PATTERNS``), one report each.

    Raises
    ------
    ImportFileError
        If the folder holds none of them.
    """
    found = [file for pattern in HISTORY_PATTERNS for file in sorted(folder.glob(pattern))]
    if not found:
        raise ImportFileError(
            str(folder),
            f"holds none of {', '.join(HISTORY_PATTERNS)}",
            next_step="Name the folder.",
        )
    return [import_path(ctx, file) for file in found]


def _by_format(members: Sequence[Member], fmt: str | None) -> dict[str, list[Member]]:
    """Group members by format; those of none are under the empty name."""
    if fmt is not None:
        detect.named(fmt)
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(fmt or detect.detect(member) or "", []).append(member)
    return groups
