"""A plan as an iCalendar (RFC 5545) whose entries update instead of doubling."""

from collections.abc import Iterator
from datetime import datetime

import pandas as pd

LINE_BYTES = 75  # RFC 5545, 3.1


def to_ics(stages: pd.DataFrame, made_at: datetime, before: pd.DataFrame | None = None) -> str:
    """Return an event for each stage that is still to begin.

    A batch and a stage are one event for ever (``UID``); a later plan raises its
    ``SEQUENCE``, and cancels what only the plan before had.

    Parameters
    ----------
    stages, before : DataFrame
        ``planning.documents.STAGE_COLUMNS`` of this plan and of the one before.
    """
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//factory_lib//production plan//EN"]
    ahead = stages[stages["start"] >= made_at]
    lines += _events(ahead, made_at, "CONFIRMED")
    if before is not None:
        planned = pd.MultiIndex.from_frame(stages[["batch", "stage"]])
        gone = before[before["start"] >= made_at]
        gone = gone[~pd.MultiIndex.from_frame(gone[["batch", "stage"]]).isin(planned)]
        lines += _events(gone, made_at, "CANCELLED")
    return "".join(_folded(line) + "\r\n" for line in [*lines, "END:VCALENDAR"])


def _events(stages: pd.DataFrame, made_at: datetime, status: str) -> Iterator[str]:
    for row in stages.itertuples():
        title = f"{row.stage}, batch {row.batch} ({row.product}, {row.kg:.0f} kg)"
        yield from (
            "BEGIN:VEVENT",
            f"UID:batch-{row.batch}-{str(row.stage).replace(' ', '-')}@factory_lib",
            f"SEQUENCE:{int(made_at.timestamp()) // 60}",
            f"STATUS:{status}",
            f"DTSTAMP:{made_at:%Y%m%dT%H%M%SZ}",
            f"DTSTART:{row.start:%Y%m%dT%H%M%SZ}",
            f"DTEND:{row.end:%Y%m%dT%H%M%SZ}",
            f"SUMMARY:{_escaped(title)}",
            "END:VEVENT",
        )


def _escaped(text: str) -> str:
    for char in "\\;,":
        text = text.replace(char, f"\\{char}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> str:
    """Break a line into pieces of at most 75 bytes, never inside a character."""
    pieces = [""]
    size = 0
    for char in line:
        width = len(char.encode())
        if size + width > LINE_BYTES:
            pieces.append(" ")
            size = 1
        pieces[-1] += char
        size += width
    return "\r\n".join(pieces)
