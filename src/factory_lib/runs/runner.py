"""Run a job: its notebook under papermill, into a dated folder with notebook, report and record.

The source notebook and the parameters are never changed; the output notebook is log,
report and re-run input at once.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from factory_lib.clock import AS_OF_ENV, REPLAY_AFTER, Clock, SystemClock, displayed_in, epoch
from factory_lib.errors import BadInput, JobLocked, LockLost, NotebookFailed
from factory_lib.failures import first_line
from factory_lib.files import write_atomically
from factory_lib.results import NOTEBOOK_ENV
from factory_lib.runs import records, report
from factory_lib.runs.index import write_index
from factory_lib.runs.parameters import read_parameters
from factory_lib.settings import Settings
from factory_lib.settings.records import JobKind, JobSettings
from factory_lib.state import State, calls, hold, marks, open_state

AfterRun = Callable[[State, Settings, records.RunRecord, datetime], None]
# about one start in a hundred loses a race for its ports when several run at once
KERNEL_STARTS = 2
# What a cell may print: a page of text is 3,000 characters.
MOST_PRINTED = 50_000
MOST_STREAMS = 10
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def _due(state: State) -> str | None:
    """Let the job run whatever happened meanwhile."""


def _nothing(state: State, settings: Settings, record: records.RunRecord, at: datetime) -> None:
    """Do nothing after a run."""


@dataclass(frozen=True)
class RunOptions:
    """Options of one run.

    Attributes
    ----------
    parameters : mapping
        On top of the job's own; the notebook must declare every name.
    code : bool
        Show the cells' source in the report.
    replay : bool
        The instant was given: the run is counted, but leaves neither mark nor alert. So
        is a run as of long ago.
    after_run : callable
        Called with the record of a run of the present, for instance to raise its alert.
    nothing_due : callable
        Asked once the job's lock is held: the reason why there is nothing to do any more,
        because another process or host did it meanwhile.
    clock : Clock, optional
        Default: the machine's clock, and for marks that of a simulated profile.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    code: bool = False
    replay: bool = False
    after_run: AfterRun = _nothing
    nothing_due: Callable[[State], str | None] = _due
    clock: Clock | None = None


def run_job(
    settings: Settings, job: str, spec: JobSettings, as_of: datetime, options: RunOptions
) -> tuple[Path, records.RunRecord]:
    """Execute the job's notebook and return its folder and record, whatever happens in it.

    A notebook that cannot be used is a failed run. That a run has begun is remembered
    first, so that one whose process is killed is seen (``settle_killed``).

    Parameters
    ----------
    as_of : datetime
        UTC; handed to the notebook, which reads nothing that became available later.

    Raises
    ------
    JobLocked
        If the same job is running, or has just run.
    LockLost
        If the job's lock was lost on the way: how the run ended is in its folder alone.
    BadInput, UnknownParameter
        If a parameter of the options cannot be used; nothing was run.
    """
    machine = options.clock or SystemClock()
    profile = options.clock or SystemClock(settings.clock_offset_s)
    with displayed_in(settings.plant.zone), hold(settings, job) as require_held:
        notebook, given = _prepare(settings, spec, as_of, options.parameters)
        began = profile.now()
        replay = options.replay or began - as_of > REPLAY_AFTER
        with open_state(settings) as state:
            settle_killed(settings, state, began, options.after_run, locked_job=job)
            _refuse_if_done(options, state)
        folder, record = _begin(settings, job, spec, given, machine.now())
        if not replay:
            _remember_start(settings, record, folder, began)
        if isinstance(notebook, NotebookFailed):
            notebook, record = _without_cells(notebook, record)
        else:
            present = "" if replay else records.stamp(as_of)
            notebook, record = _execute(
                notebook, folder, record, spec, settings.paths.root, present
            )
        record = _refused_if_lost(record, require_held)
        record = _finish(settings, folder, record, notebook, machine.now(), spec.kind, options.code)
        require_held()
        after_run = None if replay or _is_mistyped(options, record) else options.after_run
        with open_state(settings) as state:
            _remember_end(settings, state, folder, record, began, profile.now(), after_run)
        record = _attach(settings, folder, record)
        write_index(settings.paths, every=spec.kind == "maintenance")
    return folder, record


def _is_mistyped(options: RunOptions, record: records.RunRecord) -> bool:
    """Return whether a person got a parameter wrong, which is no trouble of the job."""
    return bool(options.parameters) and record.exit_code == BadInput.exit_code


def _refused_if_lost(
    record: records.RunRecord, require_held: Callable[[], None]
) -> records.RunRecord:
    """Return the record, as that of a killed run where the job's lock was lost."""
    try:
        require_held()
    except LockLost as lost:
        return replace(record, status="killed", error=f"LockLost: {lost}")
    return record


def _refuse_if_done(options: RunOptions, state: State) -> None:
    """Raise JobLocked where another process or host did the work while this one got the lock."""
    if reason := options.nothing_due(state):
        raise JobLocked(f"skipped: another process was faster. {reason}")


def settle_killed(
    settings: Settings, state: State, at: datetime, after_run: AfterRun, locked_job: str = ""
) -> int:
    """Make the runs whose process is gone failed ones, with mark and alert; return how many.

    ``locked_job`` is a job whose lock the caller holds, so that none of its runs is alive.
    """
    killed = records.mark_killed(settings.paths.runs, SystemClock().now(), locked_job)
    settled = 0
    for job, (began, start) in marks.get_marks(state, marks.STARTED).items():
        if job != locked_job and records.is_running(state, job, start):
            continue
        folder = settings.paths.runs / start["folder"]
        record = next((record for place, record in killed if place == folder), None)
        record = record or records.read_record(folder)
        if record.status in ("started", "unreadable"):  # its folder was lost
            error = "The process ended before the notebook did."
            record = replace(record, job=job, status="killed", error=error)
        _remember_end(settings, state, folder, record, began, at, after_run)
        settled += 1
    return settled


def _prepare(
    settings: Settings, spec: JobSettings, as_of: datetime, typed: Mapping[str, Any]
) -> tuple[report.Notebook | NotebookFailed, dict[str, Any]]:
    """Return the notebook, or why it cannot be used, and the parameters of the run."""
    own = {"profile": settings.profile, "as_of": records.stamp(as_of), **spec.parameters}
    if settings.site_id:
        own["site"] = settings.site_id
    try:
        notebook = read_notebook(settings, spec)
        declared = report.declared_parameters(notebook)
        given = {**own, **read_parameters(f"{spec.notebook}.ipynb", declared, typed)}
        return check_declared(notebook, spec, own), given
    except NotebookFailed as error:
        return error, {**own, **typed}


def _begin(
    settings: Settings, job: str, spec: JobSettings, given: Mapping[str, Any], at: datetime
) -> tuple[Path, records.RunRecord]:
    folder = records.new_folder(settings.paths.runs, job, at)
    record = records.RunRecord(
        job=job,
        profile=settings.profile,
        notebook=spec.notebook,
        status="started",
        as_of=given["as_of"],
        started_at=records.stamp(at),
        pid=os.getpid(),
        parameters=given,
    )
    records.save_record(folder, record)
    return folder, record


def _without_cells(
    problem: NotebookFailed, record: records.RunRecord
) -> tuple[report.Notebook, records.RunRecord]:
    """Return an empty notebook, and the record of a run that failed before its first cell."""
    import nbformat

    error = f"{type(problem).__name__}: {problem}"
    return nbformat.v4.new_notebook(), replace(record, status="failed", error=error)


def read_notebook(settings: Settings, spec: JobSettings) -> report.Notebook:
    """Return the job's notebook.

    Raises
    ------
    NotebookFailed
        If there is none, or it cannot be read.
    """
    source = settings.paths.notebooks / f"{spec.notebook}.ipynb"
    # formats that no notebook's schema names: a second of every start
    with _without("rfc3987_syntax", "isoduration"):
        import nbformat

    try:
        return nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise NotebookFailed(
            f"{source} is missing.", next_step="Check [jobs] in config/factory.toml."
        ) from None
    except OSError as error:
        raise NotebookFailed(
            f"{source} cannot be read: {error.strerror}.", next_step="Check its permissions."
        ) from error
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise NotebookFailed(
            f"{source} is not a notebook: {first_line(error)}",
            next_step="Restore it from version control.",
        ) from error


def check_declared(
    notebook: report.Notebook, spec: JobSettings, given: Mapping[str, Any]
) -> report.Notebook:
    """Return the notebook, if it declares what ``[jobs]`` gives it.

    Raises
    ------
    NotebookFailed
        If it does not: the job cannot run before one of both is corrected.
    """
    declared = report.declared_parameters(notebook)
    if unknown := sorted(given.keys() - declared.keys()):
        raise NotebookFailed(
            f"{spec.notebook}.ipynb has no parameter {', '.join(unknown)}.",
            next_step=f"It takes {', '.join(sorted(declared))}: check [jobs] in "
            "config/factory.toml.",
        )
    return notebook


@contextmanager
def _without(*modules: str) -> Iterator[None]:
    """Make an import do without modules that are optional to it."""
    absent = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _execute(
    notebook: report.Notebook,
    folder: Path,
    record: records.RunRecord,
    spec: JobSettings,
    root: Path,
    present: str,
) -> tuple[report.Notebook, records.RunRecord]:
    """Execute the notebook in a working copy; return it, and the record with how it ended."""
    import nbformat
    import psutil

    process = psutil.Process()
    others = set(process.children())
    peaks_mb = [0.0]

    def measure(**_: Any) -> None:
        kernels = set(process.children()) - others
        peaks_mb.extend(_peak_memory_mb(kernel.pid) for kernel in kernels)

    part = folder / records.WORKING_COPY
    nbformat.write(notebook, part)
    before = process.cpu_times()
    for _ in range(KERNEL_STARTS):
        try:
            record = _execute_cells(part, record, spec, root, present, measure)
            break
        except RuntimeError as failure:  # nbclient's: nothing has been executed yet
            error = f"The kernel did not start: {failure}"
            record = replace(record, status="failed", error=error)
    executed = nbformat.read(part, as_version=4)
    part.unlink()
    after = process.cpu_times()
    user_s = after.children_user - before.children_user
    system_s = after.children_system - before.children_system
    seconds = round(user_s + system_s, 2)
    return executed, replace(record, cpu_seconds=seconds, peak_memory_mb=max(peaks_mb) or None)


def _peak_memory_mb(pid: int) -> float:
    """Return the peak memory of a living process, 0 where it is not known.

    Of children that have ended, the system keeps one maximum of all.
    """
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        if kilobytes := re.search(r"VmHWM:\s*(\d+)", status):
            return round(int(kilobytes[1]) / 1024, 1)
    return 0.0


def _execute_cells(
    file: Path,
    record: records.RunRecord,
    spec: JobSettings,
    root: Path,
    present: str,
    after_cell: Callable[..., None],
) -> records.RunRecord:
    """Execute a notebook in place and return the record with status and error."""
    # the kernel takes the first for now, and logs where it is from
    os.environ |= {AS_OF_ENV: present, NOTEBOOK_ENV: str(root / f"notebooks/{spec.notebook}.ipynb")}
    # A termination ends the run like Ctrl-C: the kernel's loop swallows other exceptions.
    before = {name: signal.signal(name, signal.default_int_handler) for name in ENDING_SIGNALS}
    try:
        with _without("pyarrow"):  # for notebooks on Hadoop
            import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from traitlets.config import Config

        logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of "int | None"
        papermill.execute_notebook(
            str(file),
            str(file),
            parameters=dict(record.parameters),
            cwd=str(root),
            kernel_name="python3",
            language="python",
            progress_bar=sys.stderr.isatty(),
            execution_timeout=spec.timeout_s,
            log_output=False,
            config=Config(KernelManager={"transport_encryption": "required"}),
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # or its end is an error
            on_cell_executed=after_cell,
        )
        return replace(record, status="ok", error=None)
    except KeyboardInterrupt:  # first: the other names may not be imported yet
        return replace(record, status="killed", error="Stopped by a signal.")
    except ImportError as failure:  # nor are they here
        error = _unusable("The notebook cannot be executed", failure)
    except papermill.PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"A cell took longer than {spec.timeout_s} s."
    except DeadKernelError as failure:
        error = f"The kernel died: {failure}"
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        del os.environ[AS_OF_ENV], os.environ[NOTEBOOK_ENV]
    return replace(record, status="failed", error=error)


def _finish(
    settings: Settings,
    folder: Path,
    record: records.RunRecord,
    executed: report.Notebook,
    at: datetime,
    kind: JobKind,
    code: bool,
) -> records.RunRecord:
    """Write notebook, report and record of an executed run, without secrets.

    The work of health is to find trouble: finding it is no failure of the job.
    """
    import nbformat

    mask = settings.secrets.mask
    metrics = report.metrics(executed)
    summary = mask(str(metrics.pop("summary", "")))
    level = str(metrics.pop("level", ""))
    if record.status == "ok" and level == "fail" and kind != "health":
        record = replace(record, status="failed", error=summary)
    record = record.finish(
        record.status,
        at,
        error=mask(record.error) if record.error else None,
        summary=summary,
        level=level,
        simulated=bool(metrics.pop("simulated", settings.simulated)),
        mlflow_run_id=metrics.pop("mlflow_run_id", None),
        metrics=metrics,
    )
    executed = _masked(_cut(executed), mask)
    write_atomically(folder / "notebook.ipynb", nbformat.writes(executed))
    try:
        address = _mlflow_page(settings, record)
        page = report.render(executed, record, code=code, mlflow_page=address)
    except Exception as failure:  # noqa: BLE001  nbconvert, its templates, MLflow fail in any way
        error = record.error or mask(_unusable("The report cannot be made", failure))
        record = replace(record, status="failed", error=error)
        page = f'<!DOCTYPE html><html lang="en"><title>{record.job}</title><p>{escape(error)}</p>'
    write_atomically(folder / "report.html", page)
    records.save_record(folder, record)
    return record


def _unusable(what: str, failure: Exception) -> str:
    """Return the error of a run that the installed packages do not let be."""
    why = f"{type(failure).__name__}: {first_line(failure)}"
    return f"MachineError: {what}: {why}. `rm -r .venv; make setup` installs all anew."


def _mlflow_page(settings: Settings, record: records.RunRecord) -> str:
    """Return where MLflow shows the run that the notebook made; empty if it made none."""
    if not record.mlflow_run_id:
        return ""
    from factory_lib.models.tracking import run_page

    return run_page(settings, record.mlflow_run_id)


def _cut(notebook: report.Notebook) -> report.Notebook:
    """Cut what a cell printed without end; the rest says how much is missing.

    The picture that the kernel makes of a chart goes: the chart is there as a drawing,
    and pictures were three quarters of all that is kept.
    """
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for output in outputs:
            if "text/html" in output.get("data", {}):
                output.data.pop("image/png", None)
        streams = [output for output in outputs if output.output_type == "stream"]
        for number, output in enumerate(streams):
            most = MOST_PRINTED if number < MOST_STREAMS else 0
            if len(output.text) > most:
                missing = len(output.text) - most
                output.text = f"{output.text[:most]}\n… {missing:,} more characters were cut.\n"
    return notebook


# Keys whose text is the notebook format's own: a secret that reads `data` is no part of it.
_FORMAT = {"cell_type", "output_type", "id", "name", "kernelspec", "language_info", "tags"}


def _masked(part: Any, mask: Callable[[str], str]) -> Any:
    """Return a part of a notebook with the secrets in its texts replaced, its form untouched."""
    if isinstance(part, str):
        return mask(part)
    if isinstance(part, dict):
        changed = {k: v if k in _FORMAT else _masked(v, mask) for k, v in part.items()}
        return type(part)(changed)
    return [_masked(each, mask) for each in part] if isinstance(part, list) else part


def _remember_start(
    settings: Settings, record: records.RunRecord, folder: Path, began: datetime
) -> None:
    """Store that a run of the present has begun, before anything can end its process."""
    place = folder.relative_to(settings.paths.runs).as_posix()
    with open_state(settings) as state:
        note = {"pid": record.pid, "folder": place, "host": state.host}
        marks.set_mark(state, marks.STARTED, record.job, began, note)


def _remember_end(
    settings: Settings,
    state: State,
    folder: Path,
    record: records.RunRecord,
    began: datetime,
    at: datetime,
    after_run: AfterRun | None,
) -> None:
    """Store how the run ended.

    The mark is as of the run's beginning, so that what was stored meanwhile is new to the
    next. Without ``after_run`` the run is not of the present: it is counted and no more,
    for how it ended says nothing of now.
    """
    calls.count_tick(state, record.job, record.status, at)
    if after_run:
        note = {
            "status": record.status,
            "level": record.level,
            "summary": record.summary,
            "error": record.error,
            "ended": epoch(at),
            "folder": folder.relative_to(settings.paths.runs).as_posix(),
        }
        marks.set_mark(state, marks.LAST_RUN, record.job, began, note)
    marks.delete_mark(state, marks.STARTED, record.job)
    if after_run:
        after_run(state, settings, record, at)


def _attach(settings: Settings, folder: Path, record: records.RunRecord) -> records.RunRecord:
    """Add the notebook to the MLflow run it made; a registry that refuses costs that alone."""
    if not record.mlflow_run_id or record.status != "ok":
        return record
    from factory_lib.context import open_context
    from factory_lib.models import registry

    try:
        with open_context(settings=settings) as ctx:
            registry.attach(ctx, record.mlflow_run_id, folder)
    except Exception as error:  # noqa: BLE001  MLflow and its store raise errors of any kind
        why = f"The notebook was not added to MLflow run {record.mlflow_run_id}: {error}"
        summary = settings.secrets.mask(f"{record.summary} {why}".strip())
        record = replace(record, level="warn", summary=summary)
        records.save_record(folder, record)
    return record
