"""The tables of ``state.db`` and ``hosts.db``, and the migration of older files."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

HostRows = Sequence[tuple[Any, ...]]

META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
CALL = """CREATE TABLE call (at REAL NOT NULL, component TEXT NOT NULL, target TEXT NOT NULL,
    status TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
    duration_ms REAL NOT NULL)"""
CALL_INDEX = "CREATE INDEX call_at ON call (at)"
IMPORT_LEDGER = """CREATE TABLE import_ledger (sha256 TEXT, member TEXT, format TEXT NOT NULL,
    status TEXT NOT NULL, at INTEGER NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (sha256, member)) WITHOUT ROWID"""
ALERT = """CREATE TABLE alert (topic TEXT, entity TEXT, severity INTEGER NOT NULL,
    message TEXT NOT NULL, status TEXT NOT NULL, opened_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL, count INTEGER NOT NULL, notified TEXT NOT NULL,
    notified_at INTEGER NOT NULL, muted_until INTEGER NOT NULL, by TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID"""
ATTEMPT = """CREATE TABLE attempt (scope TEXT, subject TEXT, since INTEGER, until INTEGER,
    requested TEXT, first_at INTEGER NOT NULL, at INTEGER NOT NULL, retry_at INTEGER NOT NULL,
    outcome TEXT NOT NULL, PRIMARY KEY (scope, subject, since, until, requested)) WITHOUT ROWID"""
STATE = (
    META,
    """CREATE TABLE mark (topic TEXT, entity TEXT, at INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID""",
    """CREATE TABLE tick (job TEXT, day TEXT, outcome TEXT, count INTEGER NOT NULL,
    last_at INTEGER NOT NULL, PRIMARY KEY (job, day, outcome)) WITHOUT ROWID""",
    CALL,
    CALL_INDEX,
    IMPORT_LEDGER,
    ALERT,
    ATTEMPT,
)
HOSTS = (
    META,
    """CREATE TABLE spacing (host TEXT PRIMARY KEY, next_at REAL NOT NULL, day TEXT NOT NULL,
    used INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE breaker (host TEXT PRIMARY KEY, failures INTEGER NOT NULL,
    open_until REAL NOT NULL, probing INTEGER NOT NULL, cause TEXT NOT NULL) WITHOUT ROWID""",
)

# tables of schema 1 whose columns have other names since, in the same order
_RENAMED = {"call": CALL, "import_ledger": IMPORT_LEDGER, "alert": ALERT}
_INSERT_ATTEMPT = "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def migrate_to_2(connection: sqlite3.Connection) -> None:
    """Give a file of schema 1 the columns of schema 2, and one table for all attempts.

    The hosts' tables are left to ``take_hosts``.
    """
    for table, statement in _RENAMED.items():
        connection.execute(f"ALTER TABLE {table} RENAME TO former")
        connection.execute(statement)
        connection.execute(f"INSERT INTO {table} SELECT * FROM former")
        connection.execute("DROP TABLE former")
    connection.execute(CALL_INDEX)
    connection.execute("UPDATE call SET component = 'http' WHERE component = 'net'")
    connection.execute(ATTEMPT)
    connection.execute(
        "INSERT INTO attempt SELECT 'gap', series, first, last, asked, asked_at, asked_at,"
        " again_at, 'empty' FROM unfillable"
    )
    connection.execute("DROP TABLE unfillable")
    _migrate_marks(connection)
    connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")


def _migrate_marks(connection: sqlite3.Connection) -> None:
    marks = connection.execute("SELECT topic, entity, at, note FROM mark").fetchall()
    for topic, entity, at, text in marks:
        note = json.loads(text)
        if topic == "asked":
            row = ("source", entity, 0, 0, "", at, at, at, "requested")
            connection.execute(_INSERT_ATTEMPT, row)
        elif topic == "backfill again" and note:
            connection.execute(_INSERT_ATTEMPT, _backfill_row(entity, at, note))
        elif topic == "job" and "verdict" in note:
            note["summary"] = note.pop("verdict")
            connection.execute(
                "UPDATE mark SET note = ? WHERE topic = ? AND entity = ?",
                (json.dumps(note), topic, entity),
            )
    connection.execute("DELETE FROM mark WHERE topic IN ('asked', 'backfill again')")


def _backfill_row(job: str, retry_at: int, note: dict[str, Any]) -> tuple[object, ...]:
    latest = int(note["first"] + 60 * note["until_min"])
    outcome = "failed" if note["failed"] else "complete"
    return "backfill", job, 0, 0, "", note["first"], latest, retry_at, outcome


def take_hosts(connection: sqlite3.Connection) -> tuple[HostRows, HostRows]:
    """Remove the hosts' tables of schema 1 and return their rows: spacing, breaker."""
    spacing = connection.execute("SELECT host, next_at, day, used FROM spacing").fetchall()
    breaker = connection.execute(
        "SELECT host, failures, open_until, probing, coalesce((SELECT status FROM call"
        " WHERE component = 'http' AND target = host ORDER BY at DESC LIMIT 1), '') FROM breaker"
    ).fetchall()
    connection.execute("DROP TABLE spacing")
    connection.execute("DROP TABLE breaker")
    return spacing, breaker


def merge_hosts(connection: sqlite3.Connection, spacing: HostRows, breaker: HostRows) -> None:
    """Add the limits of one profile to those of all: the later turn, a day's sum of requests."""
    connection.executemany(
        "INSERT INTO spacing VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " next_at = max(next_at, excluded.next_at), day = max(day, excluded.day),"
        " used = iif(day = excluded.day, used + excluded.used,"
        " iif(day > excluded.day, used, excluded.used))",
        spacing,
    )
    connection.executemany(
        "INSERT INTO breaker VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " failures = max(failures, excluded.failures),"
        " open_until = max(open_until, excluded.open_until)",
        breaker,
    )
