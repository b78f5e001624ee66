"""The results of ingestion, gap analysis and backfill as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from factory_lib.pipeline.gaps import GapReport
from factory_lib.results import JobResult, ResultStatus

Metrics = Mapping[str, int | float | str]
Tables = Mapping[str, pd.DataFrame]
IDLE = {
    "offline": "Every source is switched off in this profile: its values are imported from files",
    "current": "Every source answered within the last hour, and none can have anything new",
}


def summarise_ingest(
    metrics: Metrics,
    tables: Tables,
    *,
    errors: Mapping[str, str],
    overdue: Sequence[str],
    skipped: Mapping[str, str],
    idle: Literal["", "offline", "current"],
) -> JobResult:
    """Return the result of an ingestion.

    It fails if values were due and none came, and warns if a provider failed.

    Parameters
    ----------
    errors, skipped : mapping of str to str
        The first error of each source that failed, and why others got no request.
    overdue : sequence of str
        Series that had slots due and got none of them.
    idle : str
        Why it is well that no source was asked: every one is switched off, or answered
        within the hour and can have nothing new.
    """
    reasons = [f"{name}: {reason}" for name, reason in skipped.items()]
    status: ResultStatus = "ok"
    if idle:
        text = IDLE[idle]
    elif not metrics["sources_asked"]:
        status = "fail"
        text = f"No request was sent: {'; '.join(reasons) or 'no source serves this site'}"
    elif overdue:
        status = "fail"
        causes = "; ".join(["", *sorted(errors.values())])
        text = f"{_counts(metrics)}, but {', '.join(overdue)} had values due and got none{causes}"
    else:
        remarks = {"sources_failed": "of them failed", "quarantined": "values are quarantined"}
        lines = _remarks(metrics, remarks)
        status = "warn" if lines else "ok"
        text = "; ".join([_counts(metrics), *lines])
    notes = [f"Skipped {reason}." for reason in reasons]
    notes += [f"Failed: {message}." for message in errors.values()]
    notes += [f"{name} has slots due after its latest value and got none." for name in overdue]
    return JobResult(status, f"{text}.", metrics, tables, tuple(notes))


def _counts(metrics: Metrics) -> str:
    providers = metrics["sources_asked"]
    return (
        f"{metrics['new']:,} new value{'s' * (metrics['new'] != 1)} and "
        f"{metrics['revised']:,} revised from {providers} source{'s' * (providers != 1)}"
    )


def _remarks(metrics: Metrics, words: Mapping[str, str]) -> list[str]:
    """Return the metrics that are not zero, each with its words."""
    return [f"{metrics[name]:,} {text}" for name, text in words.items() if metrics[name]]


def summarise_gaps(report: GapReport) -> JobResult:
    """Return the result of a gap analysis.

    It warns where something is missing, and fails where nothing at all was expected.
    """
    metrics = report.metrics
    tables = {"accounting": report.accounting, "gaps": report.gaps, "calendar": report.calendar}
    if not report.coverages:
        text = "No series is expected here: no source is configured and nothing was imported."
        return JobResult("fail", text, metrics, tables)
    notes = tuple(
        f"Of {part.by_the_hour:,} quarters of {part.target.name} a source gave the hour alone: "
        "hourly views and the plan use it."
        for part in report.coverages
        if part.by_the_hour
    )
    due = int(metrics["expected"]) - int(metrics["late"])
    share = (
        f"{int(metrics['present']):,} of {due:,} due slots of {len(report.coverages)} series "
        "are present"
    )
    if metrics["missing"] or metrics["quarantined"]:
        text = (
            f"{share}; {metrics['missing']:,} are missing in {metrics['gaps']} "
            f"gap{'s' * (metrics['gaps'] != 1)} "
            f"({metrics['critical_gaps']} critical, longest {metrics['longest_gap_h']:g} h), "
            f"{metrics['quarantined']:,} quarantined, {metrics['unfillable']:,} with no source."
        )
        return JobResult("warn", text, metrics, tables, notes)
    unfillable = int(metrics["unfillable"])
    rest = f"; the other {unfillable:,} are with no source" if unfillable else ""
    return JobResult("ok", f"{share}{rest}.", metrics, tables, notes)


def summarise_backfill(
    metrics: Metrics, tables: Tables, *, dry_run: bool, notes: Sequence[str] = ()
) -> JobResult:
    """Return the result of a backfill.

    It is ok if all that any source has is there, and fails if nothing was recovered of
    what a source may have.
    """
    remarks = {
        "only_quarantined": "have quarantined values alone",
        "unreached": "are out of every configured source's reach",
        "known_later": "are stored, but were not known then",
        "untouched_gaps": "gaps too short for the automatic backfill",
        "quarantined": "newly quarantined",
    }
    if not metrics["missing"]:
        text = "Nothing to fill"
    elif dry_run:
        text = (
            f"{metrics['missing']:,} missing slots would take {metrics['requests']:,} requests "
            f"and at least {metrics['planned_s']:,.0f} s; no request was sent"
        )
    else:
        text = (
            f"{metrics['recovered']:,} of {metrics['missing']:,} missing slots recovered with "
            f"{metrics['requests']:,} requests; {metrics['unfillable']:,} are with no source; "
            f"{metrics['left']:,} remain to be tried again"
        )
    status: ResultStatus
    if dry_run or not metrics["left"]:
        status = "warn" if metrics["unreached"] or metrics["quarantined"] else "ok"
    else:
        status = "warn" if metrics["recovered"] else "fail"
    sentence = "; ".join([text, *_remarks(metrics, remarks)]) + "."
    return JobResult(status, sentence, metrics, tables, tuple(notes))
