"""Alerts as they are stored: one record for each (topic, entity).

What a record means, and when it changes, is the business of ``monitoring.alerts``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from factory_lib.clock import epoch, from_epoch
from factory_lib.state.database import State, upsert

NEVER = from_epoch(0)
_TIMES = ("opened_at", "last_at", "notified_at", "muted_until")


@dataclass(frozen=True)
class AlertRecord:
    """The state of one alert; its times are UTC, ``NEVER`` where there was none.

    Attributes
    ----------
    severity : int
        0 info, 1 warning, 2 critical.
    status : str
        open, acknowledged or resolved.
    count : int
        How often it was raised since it was opened.
    notified : str
        What the channels were last notified of: a severity, ``open`` or ``resolved``;
        empty at first.
    by : str
        Who acknowledged it, and when.
    """

    topic: str
    entity: str
    severity: int
    message: str
    status: str
    opened_at: datetime
    last_at: datetime
    count: int = 0
    notified: str = ""
    notified_at: datetime = NEVER
    muted_until: datetime = NEVER
    by: str = ""


_COLUMNS = tuple(field.name for field in fields(AlertRecord))
_INSERT = upsert("alert", _COLUMNS, keys=2)


def list_alerts(state: State) -> list[AlertRecord]:
    """Return all alerts, worst first, then the newest."""
    rows = state.query("SELECT * FROM alert ORDER BY severity DESC, opened_at DESC, topic, entity")
    return [_record(row) for row in rows]


@contextmanager
def edit_alerts(state: State) -> Iterator[dict[tuple[str, str], AlertRecord]]:
    """Yield all alerts by topic and entity; what is changed or added is stored when the block ends.

    The block is one transaction: an exception leaves every alert as it was.
    """
    with state.transaction() as connection:
        records = map(_record, connection.execute("SELECT * FROM alert"))
        before = {(record.topic, record.entity): record for record in records}
        alerts = dict(before)
        yield alerts
        changed = (alert for key, alert in alerts.items() if alert != before.get(key))
        connection.executemany(_INSERT, map(_row, changed))


def delete_resolved_before(state: State, instant: datetime) -> int:
    """Delete the alerts that were resolved before ``instant`` and return how many there were."""
    return state.change(
        "DELETE FROM alert WHERE status = 'resolved' AND last_at < ?", [(epoch(instant),)]
    )


def _record(row: tuple[object, ...]) -> AlertRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    times = {name: from_epoch(int(str(values[name]))) for name in _TIMES}
    return AlertRecord(**values | times)  # type: ignore[arg-type]


def _row(alert: AlertRecord) -> tuple[object, ...]:
    return tuple(epoch(value) if isinstance(value, datetime) else value for value in astuple(alert))
