"""Call every command of the command line once, on a home that this process cannot write to.

``python -m tests.support.read_only readers|writers`` prints a line for each command:
its words, its exit code, and what it wrote to standard error.
"""

import io
import json
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout

from factory_lib.cli import main
from tests.support.commands import SHOWING

OUT = tempfile.NamedTemporaryFile(suffix=".csv")  # noqa: SIM115  as long as the process lives
WINDOW = ("--since", "2026-03-01", "--until", "2026-03-02")
READERS = (
    *SHOWING,
    ("doctor",),
    ("backup", "list"),
    ("backup", "verify"),
    ("backfill", *WINDOW, "--dry-run"),
    ("export", "spot_eur_mwh", *WINDOW, "--out", OUT.name),
    ("import", "--dry-run", "meter.csv"),
)
WRITERS = (
    ("run", "gap_analysis", "--force"),
    ("run", "gap_analysis"),
    ("index",),
    ("import", "meter.csv"),
    ("backfill", *WINDOW),
    ("predict",),
    ("plan", "override", "add", "order", "standard", "100", "18:00"),
    ("quarantine", "reject", "spot_eur_mwh", *WINDOW, "--reason", "test"),
    ("alerts", "test"),
    ("alerts", "ack", "job/ingest"),
    ("alerts", "mute", "job/ingest"),
    ("jobs", "pause", "gap_analysis"),
    ("jobs", "resume", "gap_analysis"),
    ("backup",),
    ("restore", "--yes"),
    ("history", "."),
    ("demo",),
)
# Servers, and what needs InfluxDB.
OTHERS = {"serve", "mlflow", "simulate", "copy", "store"}


def call(words: tuple[str, ...]) -> tuple[int, str]:
    """Return exit code and standard error of a command."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        code = main(list(words))
    return code, said.getvalue()


if __name__ == "__main__":
    for each in READERS if sys.argv[1] == "readers" else WRITERS:
        sys.stdout.write(json.dumps([" ".join(each), *call(each)]) + "\n")
