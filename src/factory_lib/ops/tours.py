"""Guided tours: the whole job on simulated data, and the same notebooks on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory_lib import net
from factory_lib import settings as _settings
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import JobError
from factory_lib.ops import jobs, runner
from factory_lib.settings import Settings
from factory_lib.state import State

# A fixed instant, so that the demo's figures are the same on every machine and day. The history before it holds a clock
# change and the market's change from hours to quarters.
DEMO_AS_OF = datetime(2025, 11, 20, 10, 0, tzinfo=UTC)
DEMO_PAUSE = timedelta(minutes=5)  # longer than a demo takes
CHAIN = (
    "ingest", "gap_analysis", "auto_backfill_check", "feature_engineering", "ml_training", "ml_predictions",
    "production_optimization",
)  # fmt: skip
# These read the providers' forecasts, which are issued while the demo's ingestion runs: seconds after its instant.
LOOK_AHEAD = ("ml_predictions", "production_optimization")
# The last market days of the two periods for which the public files hold prices together with weather or climate.
HISTORY_AS_OF = ("2017-12-31", "2024-12-31")


def demo(days: int) -> int:
    """Run the chain in profile ``demo`` against a simulator of its own and print where the reports are."""
    with simulated_world() as settings:
        parameters: dict[str, dict[str, object]] = {"ingest": {"days": days}, "auto_backfill_check": {"days": days}}
        return _chain(settings, DEMO_AS_OF, parameters, DEMO_PAUSE)


@contextmanager
def simulated_world() -> Iterator[Settings]:
    """Start the demo's simulator and yield settings that live in its world and at its time, kernels included."""
    now = _next_demo_instant()
    before = dict(os.environ)
    with simulator(now) as url:
        os.environ["FACTORY_SIMULATOR_URL"] = url
        os.environ["FACTORY_CLOCK_OFFSET_S"] = str((now - SystemClock().now()).total_seconds())
        try:
            yield _settings.load("demo")
        finally:
            os.environ.clear()
            os.environ.update(before)


def _next_demo_instant() -> datetime:
    """Return where the simulated clock goes on: time that hosts are spared by must not run backwards between demos.

    What a command run at the real time has left behind lies ahead of that clock and would bar every host.
    """
    state = State(_settings.load("demo").paths.state)
    try:
        last = state.marked("demo", "clock")
        now = last[0] + DEMO_PAUSE if last else DEMO_AS_OF
        state.mark("demo", "clock", now)
        net.forget_after(state, now + DEMO_PAUSE)
        return now
    finally:
        state.close()


def history(folder: Path) -> int:
    """Import the real files of ``folder`` into profile ``history`` and run the chain at two instants."""
    from factory_lib.house import open_house
    from factory_lib.ops import data
    from factory_lib.pipeline.imports import import_history

    with open_house("history") as house:
        code = data.report_imports(import_history(house, folder))
    if code:
        return code
    settings = _settings.load("history")
    # The two instants lie before New Year's Day, on which nothing is made: three days reach past it.
    codes = [_chain(settings, parse_instant(day), {"production_optimization": {"days": 3}}) for day in HISTORY_AS_OF]
    return max(codes)


def _chain(
    settings: Settings, as_of: datetime, parameters: dict[str, dict[str, object]], later: timedelta = timedelta(0)
) -> int:
    """Run the jobs; each is run even when one before it failed, because each says what it could not do."""
    failed = 0
    for name in CHAIN:
        folder, record = runner.run(
            settings,
            name,
            jobs.job_settings(settings, name),
            as_of=as_of + later if name in LOOK_AHEAD else as_of,
            parameters=parameters.get(name),
        )
        failed += record.status != "ok"
        sys.stdout.write(f"{name:<24}{record.status:<8}{record.seconds:>5.0f} s  {record.error or record.verdict}\n")
        sys.stdout.write(f"{'':<24}{folder / 'report.html'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"\nAll runs: {settings.paths.runs / 'index.html'}\n")
    return 1 if failed else 0


@contextmanager
def simulator(now: datetime, options: Sequence[str] = ("--holes", "demo")) -> Iterator[str]:
    """Run the simulator as a process of its own on a free port; yield its address and stop it afterwards.

    Raises
    ------
    JobError
        If it does not say that it is ready.
    """
    command = [
        sys.executable,
        "-m",
        "factory_lib.simulator",
        "--port",
        "0",
        "--now",
        now.isoformat(),
        "--stop-with-stdin",
        *options,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        if not ready:
            raise JobError(f"The simulator did not start (exit code {process.wait()}).")
        try:
            yield json.loads(ready)["url"]
        finally:
            process.terminate()


def mlflow_pages(profile: str | None, port: int) -> int:
    """Serve MLflow's own pages over the profile's tracking database until interrupted."""
    settings = _settings.load(profile)
    command = [
        str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", settings.paths.mlflow_uri,
        "--artifacts-destination", str(settings.paths.mlflow_artifacts),
    ]  # fmt: skip
    return subprocess.call(command)
