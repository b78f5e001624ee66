"""The work table of a backfill: one row per slot to fill and place of a source that serves it.

Pure functions: a table in, requests or another table out. A slot is to be filled if it
is missing, or holds a quarantined value alone. The columns:

``series``, ``measurement``, ``start``, ``end``
    The slot, half-open, seconds since 1970.
``slot``
    Number of the slot, the same in all of its rows.
``severity``
    Position of its gap's severity in the settings.
``scheduled``
    Whether the slot is to be requested in this run.
``quarantined``
    Whether a stored value of the slot is quarantined.
``rank``, ``source``, ``place``
    The place of a source, and its position in the order of requests. A slot that no
    source serves has one row, without a source.
``in_reach``, ``opens_in_s``
    Whether the source can have so old or so young a slot; the seconds until it can have
    one that is too young.
``status``
    ``RowStatus``.
``present``, ``known_later``
    Whether the store holds a trusted value of the slot, and whether it holds one that
    was not known at the instant of a replay.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, epoch
from factory_lib.pipeline.fetch import FetchResult, PlannedRequest, plan_requests, request_order
from factory_lib.pipeline.gaps import (
    NO_SLOTS,
    GapReport,
    SlotState,
    TargetCoverage,
    severity_index,
    within,
)
from factory_lib.pipeline.targets import SourcePlace
from factory_lib.settings.records import GapSettings
from factory_lib.slots import Mask, Slots, from_index, number_runs, resolutions
from factory_lib.sources.base import Source
from factory_lib.state.attempts import RetryPass

_TYPES = {
    "series": "category",
    "measurement": "category",
    "start": "int64",
    "end": "int64",
    "slot": "int64",
    "severity": "int64",
    "scheduled": "bool",
    "quarantined": "bool",
    "rank": "int64",
    "source": "category",
    "place": "category",
    "in_reach": "bool",
    "opens_in_s": "int64",
    "status": "int64",
    "present": "bool",
    "known_later": "bool",
}
_ADDRESS = ["series", "source", "place"]
_NO_SOURCE = SourcePlace("", "")
_NEVER_S = 2**40

# Outcomes of a slot; all but the first two say why it is still missing.
RECOVERED = "recovered"
OPEN = "open"
KNOWN_LATER = "it is stored, but was not known then"
OUT_OF_REACH = "no configured source reaches it"
ONLY_QUARANTINED = "its value is quarantined, and no other source in reach has one"
NONE_IN_REACH_HAS_IT = "no source in reach has it"  # one out of reach was not requested
NO_SOURCE_HAS_IT = "no source has it"
NO_SOURCE_OUTCOMES = (ONLY_QUARANTINED, NONE_IN_REACH_HAS_IT, NO_SOURCE_HAS_IT)
NOT_REQUESTED = "not requested"
NEXT_LOOK = "requested as often as its severity is; the next look at all gaps requests it again"


class RowStatus(IntEnum):
    """State of a row; the results of requests only ever raise it."""

    OPEN = 0  # not requested yet
    NOT_SENT = 1  # an earlier result of this run made the request pointless
    FAILED = 2  # requested, and the provider did not answer
    QUARANTINED = 3  # the source gave the value that is quarantined: not requested again
    ABSENT = 4  # the provider answered and does not have the value
    DELIVERED = 5


def work_table(
    report: GapReport, opened: Mapping[str, Source], schedule: RetryPass | None
) -> pd.DataFrame:
    """Return the table before the first request, ordered by series, rank and start.

    Parameters
    ----------
    opened : mapping of str to Source
        The clients of all configured sources.
    schedule : RetryPass, optional
        Leaves out the gaps that are too short for the automatic backfill, and schedules
        only the severities that are due.
    """
    blocks = [pd.DataFrame(columns=list(_TYPES))]
    count = 0
    for part in report.coverages:
        slots = _slots(part, report.policy, schedule)
        slots["slot"] = np.arange(count, count + len(slots))
        count += len(slots)
        for rank, at in enumerate(request_order(part.target) or (_NO_SOURCE,)):
            reach = opened[at.source].available_window(part.target.name) if at.source else None
            first, last = (0, 0) if reach is None else map(epoch, reach)
            given = np.isin(slots["start"], part.quarantined.get(at, NO_SLOTS))
            block = slots.assign(
                rank=rank,
                source=at.source,
                place=at.place,
                in_reach=(slots["start"] >= first) & (slots["end"] <= last),
                opens_in_s=(slots["end"] - last).where(slots["end"] > last, _NEVER_S),
                status=np.where(given, RowStatus.QUARANTINED, RowStatus.OPEN),
                present=False,
                known_later=False,
            )
            blocks.append(block)
    return pd.concat(blocks, ignore_index=True).astype(_TYPES)


def _slots(part: TargetCoverage, policy: GapSettings, schedule: RetryPass | None) -> pd.DataFrame:
    """Return the slots of a target that are to be filled, ascending."""
    coverage = part.coverage
    quarantined = coverage.states == SlotState.QUARANTINED
    quarantined &= ~within(coverage.starts, part.no_source_has)
    to_fill = quarantined | (coverage.states == SlotState.MISSING)
    table = pd.DataFrame(
        {
            "series": part.target.name,
            "measurement": part.target.series.measurement,
            "start": coverage.starts[to_fill],
            "end": coverage.ends[to_fill],
            "quarantined": quarantined[to_fill],
        }
    )
    gap = number_runs(table["start"].to_numpy(), table["end"].to_numpy(), table["quarantined"])
    seconds = pd.Series(resolutions(part.target.series, table["start"].to_numpy()))
    hours = seconds.groupby(gap).transform("sum").to_numpy() / HOUR_S
    severity = severity_index(hours, policy)
    due = np.array([schedule is None or schedule.includes(rule) for rule in policy.severities])
    too_short = (schedule is not None) & (hours <= policy.automatic_above_h)
    table = table.assign(severity=severity, scheduled=due[severity])
    return table[~too_short].reset_index(drop=True)


def next_requests(work: pd.DataFrame, opened: Mapping[str, Source]) -> list[PlannedRequest]:
    """Return the requests to the next source of every slot that is still missing."""
    ready = work["scheduled"] & work["in_reach"] & ~work["present"]
    rows = work[ready & (work["status"] == RowStatus.OPEN)]
    return plan_requests(rows.drop_duplicates("slot"), opened)


def record_results(work: pd.DataFrame, results: Iterable[FetchResult]) -> pd.DataFrame:
    """Return the table with the status that the results of requests give to its rows.

    A request says something of every row in its window, for whichever it was sent.
    """
    blocks = work.groupby(_ADDRESS, observed=True).indices
    starts = work["start"].to_numpy()
    status = work["status"].to_numpy(copy=True)
    for result in results:
        request = result.request
        window = [epoch(request.start), epoch(request.end)]
        for name in request.series:
            rows = blocks[name, request.source, request.place]
            inside = rows[slice(*np.searchsorted(starts[rows], window))]
            status[inside] = np.maximum(status[inside], _status(result, name, starts[inside]))
    return work.assign(status=status)


def _status(result: FetchResult, name: str, starts: Slots) -> np.ndarray | int:
    if not result.conclusive:
        return RowStatus.FAILED if result.sent else RowStatus.NOT_SENT
    delivered = from_index(result.rows.loc[result.rows["series"] == name, "start"])
    return np.where(np.isin(starts, delivered), RowStatus.DELIVERED, RowStatus.ABSENT)


def mark_present(
    work: pd.DataFrame, present: Mapping[str, Slots], stored: Mapping[str, Slots]
) -> pd.DataFrame:
    """Return the table with the slots that the store holds.

    Parameters
    ----------
    present, stored : mapping of str to int64 array
        Starts of the slots of each series that hold a trusted value, as known at the
        instant of the run and at all.
    """
    is_present = _among(work, present)
    return work.assign(present=is_present, known_later=_among(work, stored) & ~is_present)


def _among(work: pd.DataFrame, slots: Mapping[str, Slots]) -> Mask:
    starts = work["start"].to_numpy()
    mask = np.zeros(len(work), dtype=np.bool_)
    for name, rows in work.groupby("series", observed=True).indices.items():
        mask[rows] = np.isin(starts[rows], slots.get(str(name), NO_SLOTS))
    return mask


def failed_severities(work: pd.DataFrame) -> list[int]:
    """Return the severities of which a provider did not answer for slots that it may have."""
    failed = work["status"].isin([RowStatus.NOT_SENT, RowStatus.FAILED]) & ~work["present"]
    return sorted(work.loc[failed, "severity"].unique())


def summarise_slots(
    work: pd.DataFrame, errors: Mapping[tuple[SourcePlace, str], str], policy: GapSettings
) -> pd.DataFrame:
    """Return one row per slot, with its outcome.

    Parameters
    ----------
    errors : mapping of (SourcePlace, str) to str
        The first error of each place of a source and series.

    Returns
    -------
    DataFrame
        ``series, start, end, severity`` (by name), ``quarantined``, the least
        ``opens_in_s``, ``outcome`` (``RECOVERED``, ``OPEN``, …) and ``reason``: the
        outcome, and the errors of an open slot's sources.
    """
    undecided = work["in_reach"] & (work["status"] < RowStatus.QUARANTINED)
    rows = pd.DataFrame(
        {
            "undecided": undecided,
            "reached": work["in_reach"],
            "beyond_reach": ~work["in_reach"],
            "delivered": work["status"] == RowStatus.DELIVERED,
        }
    )
    of_any = rows.groupby(work["slot"]).any()
    slots = work.drop_duplicates("slot").set_index("slot")
    outcomes = {
        RECOVERED: slots["present"],
        KNOWN_LATER: slots["known_later"],
        OUT_OF_REACH: ~of_any["reached"],
        OPEN: of_any["undecided"],
        ONLY_QUARANTINED: slots["quarantined"] | of_any["delivered"],
        NONE_IN_REACH_HAS_IT: of_any["beyond_reach"],
    }
    outcome = np.select(list(outcomes.values()), list(outcomes), NO_SOURCE_HAS_IT)
    unscheduled = (outcome == OPEN) & ~slots["scheduled"]
    reason = pd.Series(np.where(unscheduled, NEXT_LOOK, outcome), slots.index)
    unanswered = work["slot"].isin(reason.index[reason == OPEN])
    reason.update(_open_reasons(work[undecided & unanswered], errors))
    names: list[str] = [rule.name for rule in policy.severities]
    return slots[["start", "end", "quarantined"]].assign(
        series=pd.Categorical(slots["series"], list(slots["series"].unique())),
        severity=pd.Categorical(np.array(names)[slots["severity"]], names),
        opens_in_s=work.groupby("slot")["opens_in_s"].min(),
        outcome=outcome,
        reason=reason,
    )


def _open_reasons(rows: pd.DataFrame, errors: Mapping[tuple[SourcePlace, str], str]) -> pd.Series:
    """Return by slot the errors of the sources that may have it and did not answer."""
    pattern = (2 ** rows["rank"]).groupby(rows["slot"]).transform("sum")
    parts = []
    for _, alike in rows.groupby(["series", pattern], observed=True):
        addresses = alike[_ADDRESS].drop_duplicates().itertuples(index=False)
        texts = [
            errors.get((SourcePlace(source, place), name), NOT_REQUESTED)
            for name, source, place in addresses
        ]
        parts.append(pd.Series("; ".join(dict.fromkeys(texts)), alike["slot"].unique()))
    return pd.concat(parts) if parts else pd.Series(dtype="str")


def stretches(slots: pd.DataFrame) -> pd.DataFrame:
    """Return the maximal stretches of neighbouring slots of one series with the same reason.

    Returns
    -------
    DataFrame
        ``series, start, end, slots, severity, reason, opens_in_s``; the severity is that
        of the first slot, the seconds are the least.
    """
    number = number_runs(
        slots["start"].to_numpy(), slots["end"].to_numpy(), slots["series"], slots["reason"]
    )
    return slots.groupby(number).agg(
        series=("series", "first"),
        start=("start", "first"),
        end=("end", "last"),
        slots=("start", "size"),
        severity=("severity", "first"),
        reason=("reason", "first"),
        opens_in_s=("opens_in_s", "min"),
    )
