"""Errors of others: each ends in one sentence, a next step and a documented exit code."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pytest
import requests
import urllib3
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from factory_lib.cli import app, main
from factory_lib.failures import explain

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/live/state.db")


TABLE = [
    pytest.param(os_error(errno.ENOSPC), 74, "Free space", id="disk full"),
    pytest.param(os_error(errno.EACCES), 74, "right to read and write", id="no permission"),
    pytest.param(os_error(errno.EROFS), 74, "mounted for reading only", id="read only disk"),
    pytest.param(os_error(errno.EIO), 74, "check it before", id="broken disk"),
    pytest.param(os_error(errno.ENOENT), 74, "Check the file", id="file gone"),
    pytest.param(IsADirectoryError(21, "Is a directory", "x"), 74, "Check the file", id="folder"),
    pytest.param(sqlite3.DatabaseError("file is not a database"), 74, "restore", id="damaged"),
    pytest.param(sqlite3.OperationalError("database is locked"), 74, "Another", id="locked"),
    pytest.param(
        sqlite3.OperationalError("database or disk is full"), 74, "Free space", id="database full"
    ),
    pytest.param(
        sqlite3.OperationalError("attempt to write a readonly database"),
        74,
        "right",
        id="read only",
    ),
    pytest.param(sqlite3.ProgrammingError("no such column"), 74, "doctor", id="other schema"),
    pytest.param(
        adbc_driver_manager.OperationalError(
            "disk I/O error", status_code=adbc_driver_manager.AdbcStatusCode.IO
        ),
        74,
        "disk",
        id="store",
    ),
    pytest.param(MemoryError(), 74, "memory", id="memory"),
    pytest.param(
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid start byte"), 2, "UTF-8", id="text"
    ),
    pytest.param(UnicodeEncodeError("ascii", "é", 0, 1, "no"), 2, "UTF-8", id="text to write"),
    pytest.param(MlflowException("no such table: runs\nmore"), 69, "doctor", id="registry"),
    pytest.param(OperationalError("SELECT", {}, Exception("x")), 69, "doctor", id="its database"),
    pytest.param(requests.ConnectionError("refused"), 74, "network", id="network"),
    pytest.param(urllib3.exceptions.ProtocolError("reset"), 74, "network", id="connection"),
]


@pytest.mark.parametrize(("error", "code", "step"), TABLE)
def test_an_error_of_others_is_one_sentence_with_a_next_step_and_a_documented_code(
    error: BaseException,
    code: int,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.delenv("FACTORY_DEBUG", raising=False)
    monkeypatch.setattr(app.factory, "main", fail)
    assert main(["jobs"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("factory: ")
    assert step in line
    codes = re.findall(r"^\| (\d+) \|", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    assert str(code) in codes
    assert f" {code} " in app.EXIT_CODES
    monkeypatch.setenv("FACTORY_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["jobs"])


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), AssertionError()])
def test_a_fault_of_the_library_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


@pytest.mark.parametrize("words", [["jobs"], ["alerts", "list"], ["run", "ingest"]])
def test_a_damaged_state_is_a_sentence_in_every_command(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "data" / "live" / "state.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a database" * 999)
    assert main(words) == 74
    (line,) = capsys.readouterr().err.splitlines()
    assert "factory restore" in line


def test_the_doctor_examines_what_else_there_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from factory_lib import settings as factory_settings
    from factory_lib.monitoring import diagnostics

    file = home / "data" / "live" / "state.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a database" * 999)
    checks = diagnostics.examine(factory_settings.load("live"), notify=False)
    statuses = {check.name: check.status for check in checks}
    assert statuses["state"] == "fail"
    assert {"store", "mlflow", "disk"} <= set(statuses)
