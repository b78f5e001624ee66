"""A month alone: the schedule of the demo profile under incidents, and what it says of them.

The first hours go by the crontab's own lines, through make. Then the ticks are walked
through in one process, on the simulator's clock: the first run of each job in a day,
every training, and every run in an incident of the machine go through papermill; the
others execute the same notebooks in this process, without pictures and page. Incidents:
each provider away for hours and one for three days, all at once, runs killed, power cuts,
cron absent for a day, the clock a day ahead and back, strange files in the inbox, the
registry lost, a notebook broken and mended, a full disk; the clocks change on the seventh
day. It ends at the first midnight after ``--hours`` of real time and says how many days
it came to; each day prints its figures on standard error. ``--quick`` walks through one
day with the clock change of autumn, in this process.

The disk that is full is a file system in memory, made no larger than what it holds;
where none may be mounted (that takes root), no file may grow (``RLIMIT_FSIZE``).

Keys: ``days``, ``by_make_hours``, ``runs``, ``by_status``, ``by_papermill``,
``failed_unexpectedly`` (runs that did not end well outside an incident), ``missing``,
``wrong``, ``duplicates`` (slots that should be stored, against the simulated world),
``incidents``, ``unnoticed`` (incidents during which health was ok; silences of which no
alert told), ``unmet`` (of providers that nobody asked meanwhile), ``alerts_opened``,
``alerts_resolved``, ``alerts_repeated`` (beyond the digests, which are ``digests``: an
alert that was told while it was open, or opened twice in one incident),
``verified_forecasts``, ``champion_age_days``, ``data_mb``, ``runs_mb``, ``year_gb`` (what
health foretells), ``processes_left``, ``health_level``, ``full_disk`` (how it was made),
``cpu_s`` (by job, kernels included), ``ticks``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import soak
from benchmarks._cli import bench
from factory_lib import lab, sources
from factory_lib import settings as factory_settings
from factory_lib.admin import cron
from factory_lib.cli import main as factory
from factory_lib.clock import SystemClock
from factory_lib.context import open_context
from factory_lib.files import size_mb
from factory_lib.monitoring import growth, health
from factory_lib.results import METRICS_MIME
from factory_lib.runs import records, report, runner, schedule
from factory_lib.settings import Settings, own_environment
from factory_lib.settings.records import JobSettings
from factory_lib.state import marks, open_state
from factory_lib.state.calls import calls_since
from factory_sim.engine import PROVIDERS
from factory_sim.launch import Remote, launched
from factory_sim.world import World

PROFILE = "demo"
HISTORY_DAYS = 200  # enough to train on, the price model too
TICK = timedelta(minutes=5)
HOUR = timedelta(hours=1)
QUIET_HOUR = clock_time(2)  # UTC: the first runs of a day are counted from here
DISK_SIZE = "10g"  # at most so much memory, of which a day takes 20 MB
# MLflow keeps a process's connection to a registry, also to one that was lost.
ALWAYS_PAPERMILL = {"ml_training"}
NO_GROWTH = 4096  # bytes up to which a file may still be written
# The clock goes back on 2025-10-26 at 03:00 local.
QUICK_BEGIN = datetime(2025, 10, 25, 16, 0, tzinfo=UTC)
MONTH_BEGIN = datetime(2025, 10, 20, 10, 0, tzinfo=UTC)
LONG = 4  # hours, of an incident in which health is looked at hourly, else every quarter
AFTER = 3 * HOUR  # until an incident's traces are gone: the next passes of the backfill


Act = Callable[["Walk"], None] | None


@dataclass
class Incident:
    """Something that goes wrong, from ``begin`` on.

    Attributes
    ----------
    hours : float
        How long it lasts.
    start, end : callable, optional
        What makes it begin, and end; both take the walk.
    silent : bool
        Whether nothing is called while it lasts.
    of_machine : bool
        Whether processes feel it: its runs go through papermill.
    source : str
        The one provider that is away.
    was_met : bool
        Whether that provider was asked meanwhile: else nobody can have noticed.
    levels : list of str
        Health, from its beginning to an hour after its end.
    news : list of int
        How many lines of news there were when it began, and when its traces were gone.
    """

    name: str
    begin: datetime
    hours: float
    start: Act = None
    end: Act = None
    silent: bool = False
    of_machine: bool = False
    source: str = ""
    was_met: bool = True
    levels: list[str] = field(default_factory=list)
    news: list[int] = field(default_factory=list)
    is_over: bool = False

    @property
    def until(self) -> datetime:
        """When it is over."""
        return self.begin + self.hours * HOUR


@dataclass
class Walk:
    """The installation, its simulator, and where the walk is.

    ``seen`` says when each run's folder was first there: its own instants are those of a
    clock that may be ahead.
    """

    home: Path
    remote: Remote
    now: datetime
    at: datetime
    by_make_until: datetime
    is_month: bool
    real: set[str] = field(default_factory=set)
    seen: dict[str, datetime] = field(default_factory=dict)
    all_real: bool = False
    by_papermill: int = 0
    ahead: timedelta = timedelta(0)
    set_at: float = 0.0
    mounted: bool = False
    full: bool = False
    runs: Counter[str] = field(default_factory=Counter)
    cpu_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def settings(self) -> Settings:
        """The settings of the profile at this moment."""
        return factory_settings.load(PROFILE)

    def set_clock(self, now: datetime) -> None:
        """Put the clocks of provider and installation to an instant, but never back."""
        passed = timedelta(seconds=time.monotonic() - self.set_at) if self.set_at else -HOUR
        self.now = max(now, self.now + passed)
        self.set_at = time.monotonic()
        self.remote.set_clock(self.now, speed=1.0)
        offset = (self.now + self.ahead - datetime.now(UTC)).total_seconds()
        os.environ["FACTORY_CLOCK_OFFSET_S"] = str(offset)

    def call(self, *words: str) -> int:
        """Run a command in this process, quietly."""
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as said,
            _no_growth(self.full and not self.mounted),
        ):
            code = factory([*words, "--profile", PROFILE])
            with contextlib.suppress(OSError):  # on a full disk the clock cannot be left
                lab._profiles.pop_all().close()
        if "Traceback" in said.getvalue():
            sys.stderr.write(said.getvalue())
        return code

    def tick(self, job: str) -> None:
        """Call a job as cron does; its first run of a day goes through papermill."""
        is_here = job in self.real - ALWAYS_PAPERMILL and not self.all_real
        used = _cpu_s()
        if self.now < self.by_make_until:
            is_here = False
            code = self._call_line(job)
        else:
            with contextlib.ExitStack() as stack:
                for patch in HERE if is_here else HERE[:1]:
                    stack.enter_context(patch)
                code = self.call("run", job)
        self.cpu_s[job] += _cpu_s() - used
        for folder in records.folders(self.settings.paths.runs, 3):
            if _key(folder) not in self.seen:
                self.seen[_key(folder)] = self.now
                self.real.add(records.job_of(folder))
                self.by_papermill += not is_here
        self.runs[f"exit {code}"] += 1

    def _call_line(self, job: str) -> int:
        """Run a job's line of the crontab in a shell with cron's environment."""
        (line,) = (line for line in cron.job_lines(self.settings) if f"JOB={job} " in line)
        command = line.removeprefix(self.settings.jobs[job].cron).replace(r"\%", "%")
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "SHELL": "/bin/sh"}
        return subprocess.run(["/bin/sh", "-c", command], env=bare, check=False).returncode

    def news(self) -> list[dict[str, Any]]:
        """Return what the channels were told so far."""
        file = self.settings.paths.data / "alerts.jsonl"
        text = file.read_text("utf-8") if file.is_file() else ""
        return [json.loads(line) for line in text.splitlines()]


def _key(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _cpu_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextlib.contextmanager
def _no_growth(wanted: bool) -> Iterator[None]:
    """Let no file grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if wanted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (NO_GROWTH, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class MachineClock(SystemClock):
    """The machine's clock, which is the walk's."""

    def __init__(self, offset_s: float = 0.0) -> None:
        super().__init__(offset_s or float(os.environ["FACTORY_CLOCK_OFFSET_S"]))


# -- runs in this process ----------------------------------------------------------------


def _no_page(*_: Any, **__: Any) -> str:
    return "<!doctype html><title>left out</title>"


def _no_index(paths: Any, **_: Any) -> Path:
    return Path(paths.runs, "index.html")


def _execute_here(
    notebook: report.Notebook,
    folder: Path,
    record: records.RunRecord,
    spec: JobSettings,
    root: Path,
    present: str,
) -> tuple[report.Notebook, records.RunRecord]:
    """Execute the cells of a notebook in this process, keeping the metrics of its summary."""
    from msgspec.structs import replace

    names: dict[str, Any] = {}
    os.environ["FACTORY_PRESENT"] = present
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                _execute_cell(cell, names)
            if "parameters" in cell.metadata.get("tags", []):
                names.update(record.parameters)
    except Exception as error:  # noqa: BLE001  as a kernel does
        text = f"{type(error).__name__}: {error}"
        return notebook, replace(record, status="failed", error=text)
    finally:
        del os.environ["FACTORY_PRESENT"]
    return notebook, replace(record, status="ok")


def _execute_cell(cell: Any, names: dict[str, Any]) -> None:
    import nbformat

    tree = ast.parse(cell.source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None or "_charts." in ast.unparse(last):  # nobody sees the picture
        return
    shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    bundle = getattr(shown, "_repr_mimebundle_", None)
    if bundle and (metrics := bundle().get(METRICS_MIME)):
        data = {METRICS_MIME: json.loads(json.dumps(metrics, default=float))}
        cell.outputs.append(nbformat.v4.new_output("display_data", data=data))


# what makes a run one of this process; of all runs the machine's clock is the walk's
HERE = (
    mock.patch.object(runner, "SystemClock", MachineClock),
    mock.patch.object(runner, "_execute", _execute_here),
    mock.patch.object(runner, "write_index", _no_index),
    mock.patch.object(report, "render", _no_page),
)

# -- incidents ---------------------------------------------------------------------------


def _faults(*sources: str) -> Callable[[Walk], None]:
    rules = [{"kind": "outage", "source": source} for source in sources]
    return lambda walk: walk.remote.set_faults(rules)


def _no_faults(walk: Walk) -> None:
    walk.remote.set_faults([])


def _kill(job: str) -> Callable[[Walk], None]:
    return lambda walk: _kill_a_run(walk, job)


def _kill_a_run(walk: Walk, job: str) -> None:
    command = [str(Path(sys.executable).with_name("factory")), "run", job]
    process = subprocess.Popen(
        [*command, "--force", "--profile", PROFILE],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300  # a busy machine starts slowly
    running = walk.settings.paths.runs
    while time.monotonic() < deadline and not list(running.glob(f"*/*/{records.WORKING_COPY}")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _strange_files(walk: Walk) -> None:
    inbox = walk.settings.paths.inbox
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / "damaged.tar.xz").write_bytes(b"\xfd7zXZ\x00" + bytes(range(256)))
    (inbox / "returns.csv").write_bytes(b"a;b\r1;2\r")
    (inbox / "not a file.xlsx").mkdir(exist_ok=True)
    (inbox / "not a file.xlsx" / "x.bin").write_bytes(b"\x00\x01")
    old = time.time() - 3600
    for file in inbox.rglob("*"):
        os.utime(file, (old, old))


def _lose_registry(walk: Walk) -> None:
    (walk.settings.paths.runs / "mlflow.db").unlink(missing_ok=True)
    shutil.rmtree(walk.settings.paths.mlflow_artifacts, ignore_errors=True)


def _break_notebook(walk: Walk) -> None:
    (walk.settings.paths.notebooks / "02_gap_analysis.ipynb").write_text("{", encoding="utf-8")


def _mend_notebook(walk: Walk) -> None:
    name = "02_gap_analysis.ipynb"
    source = Path(__file__).parents[1] / "notebooks" / name
    shutil.copyfile(source, walk.settings.paths.notebooks / name)


def _fill_disk(walk: Walk) -> None:
    walk.full = True
    if walk.mounted:
        disk = os.statvfs(walk.home)
        _resize(walk, str((disk.f_blocks - disk.f_bfree) * disk.f_frsize))


def _free_disk(walk: Walk) -> None:
    walk.full = False
    if walk.mounted:
        _resize(walk, DISK_SIZE)


def _resize(walk: Walk, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(walk.home)], check=True)


def _ahead(walk: Walk) -> None:
    walk.ahead = timedelta(days=1)


def _back(walk: Walk) -> None:
    walk.ahead = timedelta(0)


def _of_a_day(begin: datetime) -> list[Incident]:
    """Return the incidents that fit into one day."""

    def at(hours: float) -> datetime:
        return begin + hours * HOUR

    def of_machine(
        name: str, hours: float, lasting: float, start: Act, end: Act = None
    ) -> Incident:
        return Incident(name, at(hours), lasting, start, end, of_machine=True)

    return [
        Incident("one provider away", at(2), 3, _faults("open_meteo_recent"), _no_faults),
        Incident("strange files", at(5.5), 0.5, _strange_files),
        of_machine("run killed", 6.5, 0.5, _kill("feature_engineering")),
        Incident("power cut", at(8), 2, silent=True),
        of_machine("disk full", 10, 1, _fill_disk, _free_disk),
        of_machine("notebook broken", 11.2, 1.5, _break_notebook, _mend_notebook),
        of_machine("registry lost", 14, 1, _lose_registry),
        of_machine("clock ahead", 16, 0.2, _ahead, _back),
        Incident("all providers away", at(17.5), 2.5, _faults("*"), _no_faults),
    ]


def _of_a_month(begin: datetime) -> Iterator[Incident]:
    """Yield the incidents of a month: those of a day, each provider's outage, the long ones.

    The last days are quiet.
    """

    def at(days: float) -> datetime:
        return begin + timedelta(days=days)

    yield from _of_a_day(at(1))
    for number, source in enumerate(PROVIDERS):
        away = at(2.1 + number // 3 + number % 3 * 0.25)
        yield Incident(f"{source} away", away, 4, _faults(source), _no_faults, source=source)
    yield Incident("twelve hours without power", at(6.9), 12, silent=True)
    yield Incident("ree away for three days", at(8), 72, _faults("ree"), _no_faults)
    yield Incident("cron absent for a day", at(12), 24, silent=True)
    for number, job in enumerate(("ml_predictions", "hybrid_weather_ingestion")):
        yield Incident(f"{job} killed", at(14 + number / 4), 0.5, _kill(job), of_machine=True)
    yield from _of_a_day(at(16))
    yield Incident("all away for six hours", at(20), 6, _faults("*"), _no_faults)


# -- the walk ----------------------------------------------------------------------------


def main(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Walk through the days and sum up."""
    days = 1 if arguments.quick else arguments.days
    begin = QUICK_BEGIN if arguments.quick else MONTH_BEGIN
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended."))  # and leave no disk behind
    with (
        own_environment(),
        _disk() as (home, mounted),
        _installed(home),
        launched(now=begin, speed=1.0) as remote,
    ):
        os.environ["FACTORY_SIMULATOR_URL"] = remote.url
        by_make = timedelta(hours=0 if arguments.quick else arguments.make_hours)
        is_month = not arguments.quick
        walk = Walk(home, remote, begin, begin, begin + by_make, is_month, mounted=mounted)
        incidents = _of_a_day(begin) if arguments.quick else list(_of_a_month(begin))
        walk.set_clock(begin)
        code = walk.call("run", "ingest", "--param", f"days={HISTORY_DAYS}")
        sys.stderr.write(f"history loaded, exit {code}\n")
        until = time.monotonic() + arguments.hours * 3600
        for day in range(1, days + 1):
            _walk(walk, begin + timedelta(days=day) + HOUR, incidents)
            figures, rows = _figures(walk, begin, day, incidents)
            sys.stderr.write(f"{json.dumps(figures, default=float)}\n")
            sys.stderr.flush()
            if time.monotonic() > until:
                break
        return {**figures, "processes_left": _processes_left(walk)}, rows


@contextlib.contextmanager
def _disk() -> Iterator[tuple[Path, bool]]:
    """Yield a folder, and whether it is a disk of its own."""
    home = Path(tempfile.mkdtemp(prefix="month-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "month", str(home)]
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(mount, capture_output=True, check=False).returncode
    )
    try:
        yield home, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(home)], check=False)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _installed(home: Path) -> Iterator[None]:
    """Lay out an installation of its own, whose notebooks may be broken."""
    root = Path(__file__).parents[1]
    for name in ("notebooks", "config"):
        shutil.copytree(root / name, home / name)
    load = factory_settings.load
    for name in [name for name in os.environ if name.startswith(("FACTORY_", "INFLUXDB_"))]:
        del os.environ[name]
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["FACTORY_HOME"] = str(home)
    os.environ["FACTORY_CALLER"] = "cron"
    notebooks = factory_settings.Paths.notebooks
    factory_settings.Paths.notebooks = property(lambda _: home / "notebooks")  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        factory_settings.Paths.notebooks = notebooks  # type: ignore[method-assign]
        factory_settings.load = load


def _walk(walk: Walk, end: datetime, incidents: list[Incident]) -> None:
    """Call the jobs at their minutes, from where the walk is to ``end``."""
    jobs = {name: spec.cron for name, spec in walk.settings.jobs.items() if spec.cron}
    while walk.at < end:
        walk.at += TICK
        if walk.at.time() == QUIET_HOUR:
            walk.real.clear()
        for incident in incidents:
            _advance(walk, incident)
        current = [each for each in incidents if each.begin <= walk.at < each.until]
        if any(each.silent for each in current):
            continue
        walk.all_real = any(each.of_machine for each in current) and walk.is_month
        walk.set_clock(walk.at)
        for job, times in jobs.items():
            if schedule.latest(times, walk.at) == walk.at:
                walk.tick(job)
        recent = [each for each in incidents if each.begin <= walk.at < each.until + HOUR]
        often = any(each.hours < LONG for each in recent)
        if recent and walk.at.minute % (15 if often else 60) == 0:
            _look(walk, recent)


def _advance(walk: Walk, incident: Incident) -> None:
    """Begin or end an incident whose time has come."""
    told = len(incident.news)
    if told == 0 and walk.at >= incident.begin:
        walk.set_clock(walk.at)
        incident.news.append(len(walk.news()))
        sys.stderr.write(f"{walk.at:%d %H:%M} {incident.name}\n")
        if incident.start:
            incident.start(walk)
        if not incident.silent:
            _look(walk, [incident])
    if not incident.is_over and walk.at >= incident.until:
        incident.is_over = True
        if incident.end:
            incident.end(walk)
        if incident.source:
            incident.was_met = _was_asked(walk, incident)
    if told == 1 and walk.at >= incident.until + AFTER:
        incident.news.append(len(walk.news()))


def _was_asked(walk: Walk, incident: Incident) -> bool:
    with open_state(walk.settings, read_only=True) as state:
        calls = calls_since(state, incident.begin)
    return any(call.component == "http" and call.target == incident.source for call in calls)


def _look(walk: Walk, incidents: list[Incident]) -> None:
    level = str(health.look(walk.settings).status)
    for incident in incidents:
        incident.levels.append(level)


# -- the figures -------------------------------------------------------------------------


def _figures(
    walk: Walk, begin: datetime, days: int, incidents: list[Incident]
) -> tuple[dict[str, Any], Any]:
    settings = walk.settings
    ran = {
        _key(folder): records.read_record(folder) for folder in records.folders(settings.paths.runs)
    }
    excused = [(each.begin - TICK, each.until + AFTER) for each in incidents]
    unexpected = [
        run
        for key, run in ran.items()
        if run.status not in ("ok", "started")
        and not _is_excused(walk.seen.get(key) or datetime.fromisoformat(run.as_of), excused)
    ]
    for run in unexpected:
        sys.stderr.write(f"{run.as_of} {run.job} {run.status}: {run.error}\n")
    with open_context(PROFILE, read_only=True) as ctx:
        _, problems, _ = soak._judge(ctx, World(), begin, asked=set(sources.SOURCES))
        champions = marks.get_marks(ctx.state, marks.CHAMPION).values()
        now = ctx.clock.now()
        ages = [(now - mark.at) / timedelta(days=1) for mark in champions]
        verified = _verified(ctx)
        year_gb = growth.year_gb(settings, ctx.state)
    found = health.look(walk.settings)
    news = walk.news()
    of_alerts = [line for line in news if line["topic"] != "digest"]
    counted = Counter(problem["what"] for problem in problems)
    begun = [each for each in incidents if each.news]
    figures = {
        "days": days,
        "by_make_hours": max(0.0, (walk.by_make_until - begin) / HOUR),
        "runs": len(ran.keys() | walk.seen.keys()),
        "by_status": dict(Counter(record.ending for record in ran.values())),
        "by_papermill": walk.by_papermill,
        "failed_unexpectedly": len(unexpected),
        "missing": counted["missing"],
        "wrong": counted["wrong"],
        "duplicates": counted["duplicate"],
        "incidents": len(begun),
        "unnoticed": [each.name for each in begun if not _is_noticed(each, news)],
        "unmet": [each.name for each in begun if not each.was_met],
        "alerts_opened": _entities(of_alerts, "opened"),
        "alerts_resolved": _entities(of_alerts, "resolved"),
        "alerts_repeated": len(repeated := _repeated(news, begun)),
        "digests": len(news) - len(of_alerts),
        "verified_forecasts": verified,
        "champion_age_days": round(max(ages, default=float("nan")), 2),
        "data_mb": round(size_mb(settings.paths.data), 1),
        "runs_mb": round(size_mb(settings.paths.runs), 1),
        "year_gb": year_gb,
        "health_level": found.status,
        "health": found.summary,
        "full_disk": "tmpfs" if walk.mounted else "RLIMIT_FSIZE",
        "cpu_s": {job: round(seconds, 1) for job, seconds in walk.cpu_s.items()},
        "ticks": dict(walk.runs),
    }
    return figures, [*news, *problems, *repeated]


def _is_excused(at: datetime, windows: list[tuple[datetime, datetime]]) -> bool:
    return any(since <= at < until for since, until in windows)


def _is_noticed(incident: Incident, news: list[dict[str, Any]]) -> bool:
    """Return whether health was not ok, or cron's silence was told; else nobody could notice."""
    after = news[incident.news[0] :]
    told = incident.silent and any(line["topic"] == "schedule" for line in after)
    return told or set(incident.levels) != {"ok"} or not incident.was_met


def _repeated(news: list[dict[str, Any]], incidents: list[Incident]) -> list[dict[str, str]]:
    """Return the alerts told again while they were open, or opened twice in one incident."""
    told: list[tuple[int, str, str]] = []
    for number, line in enumerate(news):
        if line["topic"] != "digest":
            told += [(number, f"{line['topic']}/{name}", line["news"]) for name in line["entities"]]
    again = []
    is_open: set[str] = set()
    for _, name, what in told:
        if what == "resolved":
            is_open.discard(name)
        elif what == "opened" and name in is_open:
            again.append({"repeated": name, "in": ""})
        elif what == "opened":
            is_open.add(name)
    for incident in incidents:
        first, last = (*incident.news, len(news))[:2]
        opened = Counter(
            name for number, name, what in told if what == "opened" and first <= number < last
        )
        again += [{"repeated": n, "in": incident.name} for n, times in opened.items() if times > 1]
    return again


def _verified(ctx: Any) -> int:
    from factory_lib.models.verification import verification_pairs

    return sum(len(verification_pairs(ctx, name)) for name in ("spot_eur_mwh", "temperature_c"))


def _entities(news: list[dict[str, Any]], kind: str) -> int:
    return sum(len(line["entities"]) for line in news if line["news"] == kind)


def _processes_left(walk: Walk) -> int:
    """Return the processes of this one beside the simulator and joblib's, which a kernel ends."""
    import psutil
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    get_reusable_executor().shutdown(wait=True)
    children = psutil.Process().children(recursive=True)
    others = (child for child in children if child.pid != walk.remote.pid)
    return sum("resource_tracker" not in " ".join(child.cmdline()) for child in others)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=30, help="simulated days (default 30)")
    parser.add_argument(
        "--make-hours", type=float, default=24.0, help="of them by make (default 24)"
    )
    parser.add_argument("--hours", type=float, default=3.0, help="of real time (default 3)")


if __name__ == "__main__":
    bench(__doc__, main, arguments=_arguments)
