"""Two hosts of one installation: two checkouts and homes, one PostgreSQL for values and state.

Both call every scheduled job at its times, against one simulated set of providers with
their real limits. In the second half one of them is killed in the middle of a run, and
the other goes on alone. At the end every slot that should be there is looked up.

Keys: ``minutes``, ``ticks``, ``statuses`` and ``runs`` (by host), ``jobs`` (that ran),
``overlapping`` (runs of a job that another host was at), ``again_in_a_tick`` (runs of a
job that another run of the same tick had done), ``not_ok`` (errors of runs that failed),
``requests`` (by provider: count, most in 60 s, the limit), ``over_limit``, ``missing``,
``wrong``, ``duplicate`` (slots, against the simulated world), ``ticks_lost`` (calls that
the shared state did not count; below 0 by what the killed host counted before its end),
``killed`` (what the killed host was at, and what the state says of it), ``runs_after``
(of the other one), ``cpu_s``, ``wall_s``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import soak
from benchmarks._cli import bench
from factory_lib import settings as factory_settings
from factory_lib.context import open_context
from factory_lib.runs import records, schedule
from factory_lib.runs.simulation import BEGIN
from factory_lib.settings import ROOT, Settings
from factory_lib.state import calls
from factory_sim.launch import Remote, launched
from factory_sim.world import World

PROFILE = "demo"
TICK = timedelta(minutes=5)
HISTORY_DAYS = 60  # enough to train on
QUICK_DAYS = 2
QUICK_MINUTES = 20
QUICK_JOBS = ("ree_price_ingestion", "hybrid_weather_ingestion", "gap_analysis", "health_check")
MOST_WAIT_S = 600.0  # for a run to begin, on a busy machine
CHECKOUT = ("src", "notebooks", "config")


@dataclass
class Host:
    """A checkout, which is its own home, and what it called."""

    folder: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[str] | None = None
    calls: int = 0

    @property
    def settings(self) -> Settings:
        """The settings of its checkout."""
        return factory_settings.load(PROFILE, env=self.environment, root=self.folder)

    def start(self, words: Sequence[str], offset_s: float) -> None:
        """Start a command of this host's checkout."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "factory_lib.cli", "run", *words],
            env={**self.environment, "FACTORY_CLOCK_OFFSET_S": str(offset_s)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait for its command."""
        assert self.process is not None
        output = self.process.communicate()[0]
        if "Traceback" in output:
            sys.stderr.write(output)

    @property
    def has_ended(self) -> bool:
        """Whether its command has ended."""
        return self.process is not None and self.process.poll() is not None

    @property
    def is_at_a_run(self) -> bool:
        """Whether it executes a notebook."""
        runs = self.folder / "runs" / PROFILE
        return bool(list(runs.glob(f"*/*/{records.WORKING_COPY}")))

    def records(self) -> list[records.RunRecord]:
        """Return the records of its runs."""
        return [records.read_record(each) for each in records.folders(self.settings.paths.runs)]


@dataclass
class Walk:
    """The hosts that still live, the simulated time, and what was seen on the way."""

    hosts: list[Host]
    remote: Remote
    now: datetime = BEGIN
    set_at: float = field(default_factory=time.monotonic)
    begun: list[datetime] = field(default_factory=list)
    killed: dict[str, Any] = field(default_factory=dict)

    def tick(self, at: datetime, words: Sequence[str], *, kill: bool = False) -> None:
        """Let every living host call jobs at an instant; one of them may be killed in a run."""
        self.now = max(at, self.now + timedelta(seconds=time.monotonic() - self.set_at))
        self.set_at = time.monotonic()
        self.begun.append(self.now)
        self.remote.set_clock(self.now, speed=1.0)
        offset_s = (self.now - datetime.now(UTC)).total_seconds()
        for host in self.hosts:
            host.start(words, offset_s)
        if kill:
            self._kill_one()
        for host in self.hosts:
            host.wait()
            host.calls += len([word for word in words if "=" not in word])
        sys.stderr.write(f"{at:%H:%M} {len(words)} jobs on {len(self.hosts)} hosts\n")

    def _kill_one(self) -> None:
        """Kill the first host that is at a run, if one of them comes to it."""
        until = time.monotonic() + MOST_WAIT_S
        while not (busy := [host for host in self.hosts if host.is_at_a_run]):
            if time.monotonic() > until or all(host.has_ended for host in self.hosts):
                return
            time.sleep(0.02)
        host = busy[0]
        assert host.process is not None
        os.killpg(host.process.pid, signal.SIGKILL)
        host.wait()
        self.hosts.remove(host)
        (job,) = (record.job for record in host.records() if record.status == "started")
        self.killed = {"job": job, "at": datetime.now(UTC)}
        sys.stderr.write(f"host killed at {job}\n")


def main(options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Live the minutes and return the figures."""
    from tests.support.postgres_server import missing, serving

    if reason := missing():
        raise SystemExit(f"No PostgreSQL to share: {reason}.")
    minutes = QUICK_MINUTES if options.quick else options.minutes
    began = time.perf_counter()
    with (
        serving() as postgres,
        TemporaryDirectory(prefix="factory-hosts-") as folder,
        launched(now=BEGIN, speed=1.0) as remote,
    ):
        hosts = [_host(Path(folder, name), postgres.dsn, remote.url) for name in ("a", "b")]
        walk = Walk([*hosts], remote)
        days = QUICK_DAYS if options.quick else HISTORY_DAYS
        _live(walk, minutes, days, QUICK_JOBS if options.quick else ())
        figures, rows = _figures(walk, hosts)
    return {"minutes": minutes, **figures, "wall_s": round(time.perf_counter() - began, 1)}, rows


def _host(folder: Path, dsn: str, url: str) -> Host:
    """Lay out a checkout whose store and state are the shared database."""
    for name in CHECKOUT:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "config" / "factory.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace('[state]\nbackend = "sqlite"', '[state]\nbackend = "postgres"')
    text = text.replace('origin = "simulated"\nspacing_s = 0.02', 'origin = "simulated"')
    file.write_text(text, encoding="utf-8")
    others = ("FACTORY_", "INFLUXDB_", "MLFLOW_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return Host(
        folder,
        {
            **environment,
            "PYTHONPATH": str(folder / "src"),
            "FACTORY_HOME": str(folder),
            "FACTORY_PROFILE": PROFILE,
            "FACTORY_STORE": "postgres",
            "FACTORY_SIMULATOR_URL": url,
            "POSTGRES_DSN": dsn,
            "AEMET_API_KEY": "simulated.aemet.key",
            "OPENWEATHERMAP_API_KEY": "simulated-openweathermap-key",
        },
    )


def _live(walk: Walk, minutes: int, days: int, only: Sequence[str]) -> None:
    """Load the history, and call the jobs at their times; all of them at first."""
    jobs = {name: spec.cron for name, spec in walk.hosts[0].settings.jobs.items() if spec.cron}
    jobs = {name: cron for name, cron in jobs.items() if not only or name in only}
    loaders = walk.hosts[:1]
    first, walk.hosts = walk.hosts, loaders
    walk.tick(BEGIN, ["ingest", f"--param=days={days}"])
    walk.hosts = first
    ticks = int(timedelta(minutes=minutes) / TICK)
    for number in range(ticks):
        at = BEGIN + (number + 1) * TICK
        due = [name for name, cron in jobs.items() if schedule.latest(cron, at) == at]
        must_kill = number >= ticks // 2 and not walk.killed
        walk.tick(at, list(jobs) if not number or must_kill else due, kill=must_kill)
    if not walk.killed:
        raise SystemExit("No host was at a run in the second half: live more minutes.")


def _figures(walk: Walk, hosts: list[Host]) -> tuple[dict[str, Any], Any]:
    runs = [(host.folder.name, record) for host in hosts for record in host.records()]
    runs.sort(key=lambda run: run[1].started_at)
    settings = hosts[1].settings
    with open_context(settings=settings, as_of=walk.now, read_only=True) as ctx:
        _, problems, rows = soak._judge(ctx, World(walk.remote.seed), BEGIN)
        counted = calls.ticks_since(ctx.state, BEGIN - timedelta(days=1))
    requests = {
        name: {**_of(asked), "limit": settings.sources[name].requests_per_minute}
        for name, asked in walk.remote.requests().items()
    }
    what = Counter(problem["what"] for problem in problems)
    lost = sum(host.calls for host in hosts) - sum(tick.ticks for tick in counted)
    of_killed = [tick.outcome for tick in counted if tick.job == walk.killed["job"]]
    figures = {
        "ticks": len(walk.begun),
        "runs": Counter(name for name, _ in runs),
        "statuses": Counter(record.status for _, record in runs),
        "jobs": sorted({record.job for _, record in runs}),
        "overlapping": _overlapping(runs, walk.killed["at"]),
        "again_in_a_tick": _again(runs, walk.begun),
        "not_ok": [f"{r.job}: {r.error}" for _, r in runs if r.status not in ("ok", "started")],
        "requests": requests,
        "over_limit": [n for n, each in requests.items() if each["max_in_60s"] > each["limit"]],
        **{name: what[name] for name in ("missing", "wrong", "duplicate")},
        "rows_checked": rows,
        "ticks_lost": lost,
        "killed": {"job": walk.killed["job"], "counted": of_killed},
        "runs_after": sum(_start(record) > walk.killed["at"] for _, record in runs),
        "cpu_s": sum(record.cpu_seconds or 0.0 for _, record in runs),
    }
    return figures, problems


def _of(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in ("count", "max_in_60s")}


def _start(record: records.RunRecord) -> datetime:
    return datetime.fromisoformat(record.started_at)


def _overlapping(runs: Sequence[tuple[str, records.RunRecord]], killed_at: datetime) -> int:
    """Return how many runs began while another one of their job had not ended."""
    by_job: dict[str, list[records.RunRecord]] = {}
    for _, record in runs:
        by_job.setdefault(record.job, []).append(record)
    pairs = [pair for of_job in by_job.values() for pair in pairwise(of_job)]
    ends = [datetime.fromisoformat(r.finished_at) if r.finished_at else killed_at for r, _ in pairs]
    begins = [_start(after) for _, after in pairs]
    second = timedelta(seconds=1)  # that of a record
    return sum(end - begin > second for end, begin in zip(ends, begins, strict=True))


def _again(runs: Sequence[tuple[str, records.RunRecord]], begun: Sequence[datetime]) -> list[str]:
    """Return the jobs that ran again in a tick, and where."""
    done: dict[tuple[int, str], list[str]] = {}
    for host, record in runs:
        number = bisect(begun, datetime.fromisoformat(record.as_of) + timedelta(seconds=1))
        done.setdefault((number, record.job), []).append(host)
    return [f"{job}, tick {n}: {' '.join(by)}" for (n, job), by in done.items() if len(by) > 1]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=int, default=100, help="simulated (default %(default)s)")


if __name__ == "__main__":
    bench(__doc__, main, arguments=_arguments)
