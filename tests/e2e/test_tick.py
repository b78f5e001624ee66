"""A tick with nothing due: one row in the shared state, and nothing heavy imported."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from factory_lib.clock import SystemClock
from factory_lib.settings import Settings
from factory_lib.settings.records import SeverityRule
from factory_lib.state import attempts, open_state
from factory_lib.state.attempts import RetryPass
from factory_lib.state.marks import set_mark

PROGRAM = """
import sys
from factory_lib import cli
from factory_lib.state.marks import set_mark
code = cli.main(["run", "auto_backfill_check"])
heavy = set("pandas numpy nbformat papermill requests mlflow psycopg distributed".split())
print(code, sorted({*heavy, 'concurrent.futures'} & set(sys.modules)))
"""
CRITICAL = SeverityRule("critical", "", "high", (0, 15, 30, 60))


@pytest.mark.parametrize(
    "failed", [pytest.param([], id="between looks"), pytest.param([CRITICAL], id="between passes")]
)
def test_a_backfill_tick_with_nothing_due_is_one_row(
    settings: Settings, failed: list[SeverityRule]
) -> None:
    state = open_state(settings)
    now = SystemClock().now()
    set_mark(state, "job", "auto_backfill_check", now, {"status": "failed"})
    attempts.record_pass(state, RetryPass(now - timedelta(minutes=5)), failed)
    tables = [
        name
        for (name,) in state.query(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'tick'"
        )
    ]
    before = {name: state.query(f"SELECT * FROM {name}") for name in tables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "not due" in done.stdout
    assert state.query("SELECT job, outcome, count FROM tick") == [
        ("auto_backfill_check", "not_due", 1)
    ]
    assert {name: state.query(f"SELECT * FROM {name}") for name in tables} == before
    state.close()
