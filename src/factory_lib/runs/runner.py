"""Run a job: its notebook under papermill, into a dated folder with notebook, report and record.

The source notebook and the parameters are never changed; the output notebook is log,
report and re-run input at once.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from factory_lib.clock import AS_OF_ENV, REPLAY_AFTER, Clock, SystemClock
from factory_lib.errors import BadInput, NotebookFailed, UnknownParameter
from factory_lib.files import write_atomically
from factory_lib.runs import index, records, report
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import State, locked

if TYPE_CHECKING:
    from nbformat import NotebookNode

AfterRun = Callable[[State, Settings, RunRecord, datetime], None]
# about one start in a hundred loses a race for its ports when several run at once
KERNEL_STARTS = 2


def run(
    settings: Settings,
    job: str,
    spec: JobSettings,
    *,
    as_of: datetime,
    parameters: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    code: bool = False,
    replay: bool = False,
    after_run: AfterRun | None = None,
) -> tuple[Path, RunRecord]:
    """Execute the job's notebook and leave its folder behind, whatever happens.

    Parameters
    ----------
    as_of : datetime
        UTC; handed to the notebook, which reads nothing that became available later.
    parameters : mapping, optional
        On top of the job's own; every name must be declared by the notebook.
    code : bool
        Show the cells' source in the report.
    replay : bool
        The instant was asked for: the run is counted, but leaves neither mark nor
        alert. So is a run as of long ago.

    after_run : callable, optional
        What is done with the record of a run of the present, for instance its alert.

    Returns
    -------
    (Path, RunRecord)
        The run's folder and its record; ``status`` is ok, failed or killed.

    Raises
    ------
    JobLocked
        If the same job is running.
    UnknownParameter
        If a parameter is not the notebook's own; nothing was run.
    """
    ticking = clock or SystemClock()
    # a simulated profile's marks are in its own time
    living = clock or SystemClock(settings.clock_offset_s)
    given = {
        "profile": settings.profile,
        "as_of": stamp(as_of),
        **spec.parameters,
        **(parameters or {}),
    }
    with locked(settings.paths.data / "locks", job):
        notebook = notebook_for(settings, spec, given)
        records.reap(settings.paths.runs, ticking.now())
        started, began = ticking.now(), living.now()
        folder = records.new_folder(settings.paths.runs, job, started)
        record = RunRecord(
            job,
            settings.profile,
            spec.notebook,
            "started",
            stamp(as_of),
            stamp(started),
            os.getpid(),
            given,
        )
        records.save(folder, record)
        replay = replay or began - as_of > REPLAY_AFTER
        with _as_present(None if replay else stamp(as_of)):
            executed = _execute(notebook, folder, given, spec, settings)
        record = _finish(settings, folder, record, *executed, ticking, code)
        # a person's slip is no trouble of the job
        typed = bool(parameters) and record.exit_code == BadInput.exit_code
        _remember(
            settings,
            record,
            began,
            living.now(),
            None if replay or typed else after_run or _nothing,
        )
    index.write(settings.paths)
    return folder, record


@contextmanager
def _as_present(instant: str | None) -> Iterator[None]:
    """Tell kernels that this ``as_of`` is the present; None: that none is."""
    before = os.environ.pop(AS_OF_ENV, None)
    try:
        os.environ.update({} if instant is None else {AS_OF_ENV: instant})
        yield
    finally:
        os.environ.pop(AS_OF_ENV, None)
        os.environ.update({} if before is None else {AS_OF_ENV: before})


def notebook_for(settings: Settings, spec: JobSettings, given: Mapping[str, Any]) -> NotebookNode:
    """Return the job's notebook, which declares every parameter that is ``given``.

    Raises
    ------
    NotebookFailed, UnknownParameter
        If there is no such notebook, or it does not.
    """
    source = settings.paths.notebooks / f"{spec.notebook}.ipynb"
    # formats that no notebook's schema names: a second of every start
    with _without("rfc3987_syntax", "isoduration"):
        import nbformat

    try:
        notebook: NotebookNode = nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise NotebookFailed(
            f"{source} is missing.", next_step="Check [jobs] in config/factory.toml."
        ) from None
    known = report.declared_parameters(notebook)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UnknownParameter(source.name, unknown, sorted(known))
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
    notebook: NotebookNode,
    folder: Path,
    given: Mapping[str, Any],
    spec: JobSettings,
    settings: Settings,
) -> tuple[NotebookNode, records.Status, str | None]:
    """Return the executed notebook, how it ended, and what went wrong."""
    import nbformat

    with _without("pyarrow"):  # for notebooks on Hadoop
        import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    part = folder / ".running.ipynb"
    nbformat.write(notebook, part)
    status: records.Status = "ok"
    error = None
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            with _terminable():
                papermill.execute_notebook(
                    str(part),
                    str(part),
                    parameters=dict(given),
                    cwd=str(settings.paths.root),
                    kernel_name="python3",
                    language="python",
                    progress_bar=sys.stderr.isatty(),
                    execution_timeout=spec.timeout_s,
                    log_output=False,
                    config=Config(KernelManager={"transport_encryption": "required"}),
                )
        except papermill.PapermillExecutionError as failure:
            status, error = "failed", f"{failure.ename}: {failure.evalue}"
        except CellTimeoutError:
            status, error = "failed", f"A cell took longer than {spec.timeout_s} s."
        except DeadKernelError as failure:
            status, error = "failed", f"The kernel died: {failure}"
        except RuntimeError as failure:
            # nbclient's word for a kernel that did not come up; nothing has been
            # executed yet.
            if attempt < KERNEL_STARTS:
                continue
            status, error = "failed", f"The kernel did not start: {failure}"
        except KeyboardInterrupt:
            status, error = "killed", "Stopped by a signal."
        break
    executed = nbformat.read(part, as_version=4)
    part.unlink()
    return executed, status, error


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a termination end the run like Ctrl-C: the loop that drives the kernel swallows any other exception."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _finish(
    settings: Settings,
    folder: Path,
    record: RunRecord,
    notebook: NotebookNode,
    status: records.Status,
    error: str | None,
    clock: Clock,
    code: bool,
) -> RunRecord:
    import nbformat

    told = report.figures(notebook)
    if status == "ok" and told.get("level") == "fail":
        status, error = "failed", str(told.get("verdict", ""))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    mask = settings.secrets.mask
    record = record.finish(
        status,
        clock.now(),
        error=mask(error) if error else None,
        verdict=mask(str(told.pop("verdict", ""))),
        level=str(told.pop("level", "")),
        simulated=bool(told.pop("simulated", settings.simulated)),
        mlflow_run_id=told.pop("mlflow_run_id", None),
        figures=told,
        cpu_seconds=round(children.ru_utime + children.ru_stime, 2),
        peak_memory_mb=round(children.ru_maxrss / 1024, 1),
    )
    text = mask(nbformat.writes(notebook))
    write_atomically(folder / "notebook.ipynb", text)
    write_atomically(
        folder / "report.html", report.render(nbformat.reads(text, as_version=4), record, code=code)
    )
    records.save(folder, record)
    if record.mlflow_run_id and status == "ok":
        from factory_lib.context import open_context
        from factory_lib.models import registry

        with open_context(settings=settings) as ctx:
            registry.attach(ctx, record.mlflow_run_id, folder / "notebook.ipynb")
    return record


def _nothing(state: State, settings: Settings, record: RunRecord, at: datetime) -> None:
    """Do nothing after a run."""


def _remember(
    settings: Settings,
    record: RunRecord,
    began: datetime,
    at: datetime,
    after_run: AfterRun | None,
) -> None:
    """Record the run in the shared state; as of its beginning, so that what was stored while it ran is new to the next.

    Without ``after_run`` it was a replay, which is counted and no more: how it ended
    says nothing of the present.
    """
    state = State(settings.paths.state)
    try:
        state.tick(record.job, record.status, at)
        if after_run is None:
            return
        note = {"status": record.status, "verdict": record.verdict, "error": record.error}
        state.mark("job", record.job, began, note)
        after_run(state, settings, record, at)
    finally:
        state.close()
