"""The result of an import as a person reads it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from factory_lib.results import JobResult, ResultStatus

UNREADABLE = "unreadable"
UNKNOWN_FORMAT = "unknown"
SUPERSEDED = "superseded"
FINDINGS_BY_PLACE = (
    "missing_days",
    "incomplete_days",
    "empty_days",
    "duplicates",
    "frozen_hours",
)
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
