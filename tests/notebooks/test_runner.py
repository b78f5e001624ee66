"""The runner: what a run leaves behind, whatever happens in its notebook."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from factory_lib.clock import from_epoch
from factory_lib.errors import BadInput, JobLocked, UnknownParameter
from factory_lib.files import lock
from factory_lib.monitoring import alerts
from factory_lib.runs import records, runner
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import open_state
from factory_lib.state.calls import ticks_since
from factory_lib.state.marks import get_mark, get_marks
from factory_sim.clock import SimulatedClock

MakeNotebook = Callable[..., None]
NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
SUMMARY = """
class Summary:
    def _repr_mimebundle_(self, **_):
        metrics = {"summary": "All is well.", "level": LEVEL, "answer": answer, "simulated": False}
        return {"text/html": "<b>All is well.</b>", "application/vnd.factory.metrics+json": metrics}
Summary()
"""

options = partial(runner.RunOptions, after_run=alerts.after_run)


def run(settings: Settings, name: str, **given: object) -> tuple[Path, records.RunRecord]:
    spec = JobSettings(notebook=name, timeout_s=60)
    given_options = options(parameters=given, clock=SimulatedClock(NOW))
    return runner.run_job(settings, "job", spec, NOW, given_options)


def test_a_kernel_that_starts_late_leaves_no_error(
    checkout: Settings, make_notebook: MakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = papermill.execute_notebook
    starts = []

    def slow_once(*args: Any, **given: Any) -> Any:
        starts.append(args)
        if len(starts) == 1:
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return execute(*args, **given)

    monkeypatch.setattr(papermill, "execute_notebook", slow_once)
    make_notebook("good", SUMMARY.replace("LEVEL", "'ok'"))
    _, record = run(checkout, "good", answer=42)
    assert (len(starts), record.status, record.error) == (2, "ok", None)


def test_a_good_run_leaves_notebook_report_and_record(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", SUMMARY.replace("LEVEL", "'ok'"))
    folder, record = run(checkout, "good", answer=42)
    assert folder == checkout.paths.runs / "2026-04-15" / "100000Z-job"
    assert sorted(file.name for file in folder.iterdir()) == [
        "notebook.ipynb",
        "report.html",
        "run.json",
    ]
    assert records.load_record(folder) == record
    assert (record.status, record.summary, record.metrics) == ("ok", "All is well.", {"answer": 42})
    assert record.parameters == {"profile": "live", "as_of": "2026-04-15T10:00:00Z", "answer": 42}


def test_the_report_is_self_contained_and_shows_no_code(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", SUMMARY.replace("LEVEL", "'ok'"))
    folder, _ = run(checkout, "good")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "All is well." in page
    assert "class Summary" not in page
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", page)
    assert "default-src 'none'" in page


def test_the_report_shows_the_lines_to_go_on_from_and_not_what_they_give(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", "1 + 1", "prices = [40 + 2]\nprices")
    file = checkout.paths.notebooks / "good.ipynb"
    notebook = nbformat.read(file, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["go-on"]
    nbformat.write(notebook, file)
    folder, _ = run(checkout, "good")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "prices = [40 + 2]" in page
    assert "[42]" not in page
    assert "1 + 1" not in page


def test_a_second_run_in_the_same_second_gets_a_suffix(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", "1 + 1")
    run(checkout, "good")
    folder, _ = run(checkout, "good")
    assert folder.name == "100000Z-job-2"
    index = (checkout.paths.runs / "index.html").read_text(encoding="utf-8")
    assert index.index("100000Z-job-2/report.html") < index.index("100000Z-job/report.html")


def test_a_failing_cell_is_shown_where_it_failed(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("bad", "print('before')", "raise ValueError('no such price')", "print('never')")
    folder, record = run(checkout, "bad")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert record.status == "failed"
    assert record.error == "ValueError: no such price"
    assert "This run failed." in page
    assert "papermill encountered" not in page
    assert (
        page.index("This run failed.")
        < page.index('<details id="failure">')
        < page.index("ValueError</span>")
    )
    assert "no such price" in page
    assert "before" in page
    assert "never" not in page


@pytest.mark.parametrize(
    ("status", "as_of", "replay"),
    [
        pytest.param("ok", NOW, True, id="asked for"),
        pytest.param("fail", NOW - timedelta(days=2), False, id="long ago"),
    ],
)
def test_a_replay_is_counted_and_says_nothing_of_the_present(
    checkout: Settings, make_notebook: MakeNotebook, status: str, as_of: datetime, replay: bool
) -> None:
    make_notebook("summed", SUMMARY.replace("LEVEL", f"'{status}'"))
    state = open_state(checkout)
    alerts.raise_event(
        state, alerts.Event("job", "job", alerts.Severity.WARNING, "live trouble"), NOW
    )
    before = alerts.alert_rows(state)
    spec = JobSettings(notebook="summed", timeout_s=60)
    given_options = options(clock=SimulatedClock(NOW), replay=replay)
    runner.run_job(checkout, "job", spec, as_of, given_options)
    assert [(tick.job, tick.ticks) for tick in ticks_since(state, from_epoch(0))] == [("job", 1)]
    assert get_marks(state, "job") == {}
    assert alerts.alert_rows(state) == before
    run(checkout, "summed")
    assert list(get_marks(state, "job")) == ["job"]
    assert alerts.alert_rows(state) != before
    state.close()


@pytest.mark.parametrize("replay", [False, True])
def test_the_kernel_knows_whether_it_lives_in_the_present(
    checkout: Settings, make_notebook: MakeNotebook, replay: bool
) -> None:
    ask = (
        "from factory_lib.context import open_context\n"
        "with open_context(profile, as_of) as ctx:\n    replay = ctx.replay"
    )
    make_notebook("asking", ask, "answer = replay", SUMMARY.replace("LEVEL", "'ok'"))
    minutes_ago = datetime.now(UTC) - timedelta(minutes=10)
    spec = JobSettings(notebook="asking", timeout_s=60)
    _, record = runner.run_job(checkout, "job", spec, minutes_ago, options(replay=replay))
    assert record.metrics == {"answer": replay}


def test_a_level_of_fail_fails_the_run(checkout: Settings, make_notebook: MakeNotebook) -> None:
    make_notebook("poor", SUMMARY.replace("LEVEL", "'fail'"))
    assert run(checkout, "poor")[1].status == "failed"


def test_a_cell_that_takes_too_long_fails_the_run(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("slow", "import threading\nthreading.Event().wait(60)")
    spec = JobSettings(notebook="slow", timeout_s=1)
    _, record = runner.run_job(checkout, "job", spec, NOW, options(clock=SimulatedClock(NOW)))
    assert record.status == "failed"
    assert "longer than 1 s" in str(record.error)


def test_an_unknown_parameter_runs_nothing(checkout: Settings, make_notebook: MakeNotebook) -> None:
    make_notebook("good", "1 + 1")
    with pytest.raises(UnknownParameter, match="no parameter anser") as caught:
        run(checkout, "good", anser=1)
    assert "answer" in str(caught.value)
    assert not list(records.folders(checkout.paths.runs))


def test_a_value_that_a_person_got_wrong_is_no_trouble_of_the_job(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook(
        "picky",
        "from factory_lib.errors import BadInput\nraise BadInput(f'{answer} is not an answer.')",
    )
    state = open_state(checkout)
    _, typed = run(checkout, "picky", answer=2)
    assert (typed.status, typed.exit_code, get_marks(state, "job"), alerts.alert_rows(state)) == (
        "failed",
        2,
        {},
        [],
    )
    _, scheduled = run(checkout, "picky")
    assert (scheduled.exit_code, len(alerts.alert_rows(state))) == (2, 1)
    state.close()


def test_a_locked_job_is_not_run_twice(checkout: Settings, make_notebook: MakeNotebook) -> None:
    make_notebook("good", "1 + 1")
    with (
        lock(checkout.paths.lock("job"), wait=False),
        pytest.raises(JobLocked, match="skipped: locked"),
    ):
        run(checkout, "good")


def test_a_planted_secret_reaches_neither_notebook_nor_report(
    checkout: Settings, make_notebook: MakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "planted-key-7731"
    monkeypatch.setenv("PLANTED", key)
    object.__setattr__(checkout.secrets, "esios_token", type(checkout.secrets.esios_token)(key))
    make_notebook(
        "leaky",
        "import os\nprint(os.environ['PLANTED'])",
        "raise ValueError(os.environ['PLANTED'])",
    )
    folder, record = run(checkout, "leaky")
    assert record.status == "failed"
    assert all(key not in file.read_text(encoding="utf-8") for file in folder.iterdir())


def test_a_run_whose_process_is_gone_is_marked_killed(checkout: Settings) -> None:
    folder = records.new_folder(checkout.paths.runs, "job", NOW)
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    started = records.RunRecord(
        "job", "live", "good", "started", "", records.stamp(NOW), gone.pid, {}
    )
    records.save_record(folder, started)
    assert len(records.mark_killed(checkout.paths.runs, NOW + timedelta(minutes=5))) == 1
    assert records.load_record(folder).status == "killed"
    assert records.mark_killed(checkout.paths.runs, NOW) == []


def begin_slow_run(make_notebook: MakeNotebook, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, and return it once its cells are executed."""
    make_notebook(
        "slow",
        f"open({str(tmp_path / 'running')!r}, 'w').close()",
        "import threading\nthreading.Event().wait(60)",
    )
    program = textwrap.dedent(
        f"""
        from dataclasses import replace
        from msgspec import structs
        from datetime import UTC, datetime
        from pathlib import Path
        from factory_lib import settings
        from factory_lib.monitoring import alerts
        from factory_lib.runs import runner
        from factory_lib.settings.records import JobSettings
        loaded = settings.load("live")
        loaded = structs.replace(loaded, paths=replace(loaded.paths, root=Path({str(tmp_path)!r})))
        spec = JobSettings(notebook="slow")
        options = runner.RunOptions(after_run=alerts.after_run)
        runner.run_job(loaded, "job", spec, datetime.now(UTC), options)
        """
    )
    environment = {**os.environ, "FACTORY_HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "running").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def test_the_state_remembers_the_last_run(checkout: Settings, make_notebook: MakeNotebook) -> None:
    make_notebook("good", "1 + 1")
    run(checkout, "good")
    state = open_state(checkout)
    marked = get_mark(state, "job", "job")
    state.close()
    assert marked is not None
    assert marked[0] == NOW
    assert marked[1]["status"] == "ok"


def test_the_source_notebook_is_not_touched(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", "answer + 1")
    source = checkout.paths.notebooks / "good.ipynb"
    before = source.read_bytes()
    folder, _ = run(checkout, "good", answer=2)
    assert source.read_bytes() == before
    assert (
        nbformat.read(folder / "notebook.ipynb", as_version=4)
        .cells[-1]
        .outputs[0]
        .data["text/plain"]
        == "3"
    )


def test_a_run_counts_its_own_time_and_memory_only(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook(
        "heavy",
        "import time\nblock = bytearray(300_000_000)\nend = time.process_time() + 1.5\n"
        "while time.process_time() < end: pass",
    )
    make_notebook("light", "1 + 1")
    _, heavy = run(checkout, "heavy")
    _, light = run(checkout, "light")
    assert heavy.cpu_seconds is not None
    assert light.cpu_seconds is not None
    assert heavy.peak_memory_mb is not None
    assert light.peak_memory_mb is not None
    assert light.cpu_seconds < heavy.cpu_seconds
    assert 20 < light.peak_memory_mb < heavy.peak_memory_mb - 200


def test_a_registry_that_refuses_the_notebook_costs_no_mark_and_no_alert(
    checkout: Settings, make_notebook: MakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory_lib.models import registry

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(registry, "attach", refuse)
    make_notebook("trained", SUMMARY.replace("LEVEL", "'ok', 'mlflow_run_id': 'abc'"))
    folder, record = run(checkout, "trained")
    assert (record.status, record.ending) == ("ok", "warn")
    assert "not added to MLflow run abc: disk full" in record.summary
    assert records.load_record(folder) == record
    state = open_state(checkout)
    ticks = ticks_since(state, from_epoch(0))
    assert [(tick.job, tick.outcome) for tick in ticks] == [("job", "ok")]
    assert list(get_marks(state, "job")) == ["job"]
    state.close()


@pytest.mark.parametrize(
    ("where", "name", "failure", "why"),
    [
        pytest.param(
            "factory_lib.runs.report.render",
            "good",
            ValueError("No template sub-directory with name 'base' found:\n/usr/share"),
            "The report cannot be made: ValueError: No template sub-directory with name 'base'",
            id="nbconvert without its templates",
        ),
        pytest.param(
            "factory_lib.runs.report.render",
            "bad",
            KeyError("dark"),
            "ValueError: 3 < 2",
            id="a notebook that failed before",
        ),
        pytest.param(
            "papermill.execute_notebook",
            "good",
            ModuleNotFoundError("No module named 'ansicolors'"),
            "The notebook cannot be executed: ModuleNotFoundError: No module named 'ansicolors'",
            id="papermill without a package",
        ),
    ],
)
def test_what_the_packages_refuse_is_a_failed_run_with_an_alert(
    checkout: Settings,
    make_notebook: MakeNotebook,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    name: str,
    failure: Exception,
    why: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(where, refuse)
    make_notebook("good", SUMMARY.replace("LEVEL", "'ok'"))
    make_notebook("bad", "raise ValueError('3 < 2')")
    folder, record = run(checkout, name)
    assert (record.status, record.exit_code) == ("failed", 74 if name == "good" else 1)
    assert records.load_record(folder) == record
    assert why in str(record.error)
    assert why in html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert nbformat.read(folder / "notebook.ipynb", as_version=4).cells
    with open_state(checkout) as state:
        assert [row["entity"] for row in alerts.alert_rows(state)] == ["job"]
        assert get_mark(state, "start", "job") is None


@pytest.mark.parametrize("content", ["{", "{}", "[]", "null", "\xff", '{"cells": 3}'])
def test_a_notebook_that_cannot_be_used_is_a_failed_run_with_an_alert(
    checkout: Settings, make_notebook: MakeNotebook, content: str
) -> None:
    make_notebook("broken")
    file = checkout.paths.notebooks / "broken.ipynb"
    file.write_bytes(content.encode("latin-1"))
    folder, record = run(checkout, "broken")
    assert record.status == "failed"
    assert str(record.error).startswith("NotebookFailed: ")
    assert "This run failed." in (folder / "report.html").read_text(encoding="utf-8")
    with open_state(checkout) as state:
        assert [(row["topic"], row["entity"]) for row in alerts.alert_rows(state)] == [
            ("job", "job")
        ]
        assert get_mark(state, "start", "job") is None


def test_a_missing_notebook_or_one_without_parameters_is_a_failed_run(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("bare", "1 + 1", parameters=None)
    make_notebook("torn", parameters="profile = ")
    for name, why in (("bare", "tagged"), ("torn", "not Python"), ("gone", "missing")):
        _, record = run(checkout, name)
        assert record.status == "failed"
        assert why in str(record.error)


def test_a_parameter_of_the_settings_that_the_notebook_lacks_fails_the_run(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("good", "1 + 1")
    spec = JobSettings(notebook="good", parameters={"anser": 1})
    _, record = runner.run_job(checkout, "job", spec, NOW, options(clock=SimulatedClock(NOW)))
    assert "no parameter anser" in str(record.error)


def test_a_parameter_is_read_as_its_notebook_declares_it(
    checkout: Settings, make_notebook: MakeNotebook, caplog: pytest.LogCaptureFixture
) -> None:
    cases: list[tuple[str, str, object]] = [
        ("since = ''", "20251101", "20251101"),  # digits that are text
        ("days = 1", "3", 3),
        ("most: int = None", "none", None),
        ("share = 0.5", "1", 1.0),  # whole where a fraction is meant
        ("force = False", "yes", True),
    ]
    declared = "\n".join(case[0] for case in cases)
    make_notebook("typed", "1", parameters=f"profile = ''\nas_of = ''\n{declared}")
    names = [re.split(r"\W", case[0], maxsplit=1)[0] for case in cases]
    given = {name: case[1] for name, case in zip(names, cases, strict=True)}
    _, record = run(checkout, "typed", **given)
    read = [record.parameters[name] for name in names]
    assert read == [case[2] for case in cases]
    assert [type(value) for value in read] == [type(case[2]) for case in cases]
    assert not [line for line in caplog.records if line.name == "papermill"]


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"days": "3d"}, "a whole number, not '3d'"),
        ({"force": "perhaps"}, "true or false"),
        ({"profile": "demo"}, "--profile"),
        ({"as_of": "2026-01-01"}, "--as-of"),
    ],
    ids=["number", "truth", "profile", "instant"],
)
def test_a_parameter_that_cannot_be_is_refused_before_anything_runs(
    checkout: Settings, make_notebook: MakeNotebook, typed: dict[str, str], why: str
) -> None:
    make_notebook("typed", "1", parameters="profile = ''\nas_of = ''\ndays = 1\nforce = False")
    with pytest.raises(BadInput, match=why) as caught:
        run(checkout, "typed", **typed)
    assert caught.value.exit_code == 2
    assert not list(records.folders(checkout.paths.runs))
    with open_state(checkout) as state:
        assert alerts.alert_rows(state) == []


def test_trouble_that_a_health_job_finds_is_no_failure_of_the_job(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("poor", SUMMARY.replace("LEVEL", "'fail'"))
    spec = JobSettings(notebook="poor", kind="health")
    _, record = runner.run_job(checkout, "job", spec, NOW, options(clock=SimulatedClock(NOW)))
    assert (record.status, record.ending, record.exit_code) == ("ok", "warn", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_was_stopped_is_a_failed_run_with_an_alert(
    checkout: Settings, make_notebook: MakeNotebook, tmp_path: Path, number: signal.Signals
) -> None:
    process = begin_slow_run(make_notebook, tmp_path)
    try:
        with open_state(checkout) as state:
            assert get_mark(state, "start", "job") is not None
        process.send_signal(number)
        process.wait(60)
    finally:
        process.kill()
    (folder,) = records.folders(tmp_path / "runs")
    with open_state(checkout) as state:
        runner.settle_killed(checkout, state, NOW, alerts.after_run)
        ended = get_mark(state, "job", "job")
        assert ended is not None
        assert ended.note["status"] == "killed"
        assert get_mark(state, "start", "job") is None
        ticks = ticks_since(state, from_epoch(0))
        assert [(tick.job, tick.outcome) for tick in ticks] == [("job", "killed")]
        assert [row["entity"] for row in alerts.alert_rows(state)] == ["job"]
        assert runner.settle_killed(checkout, state, NOW, alerts.after_run) == 0
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "killed"
    assert not (folder / records.WORKING_COPY).exists()


def test_a_secret_that_reads_like_the_format_damages_no_notebook(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    object.__setattr__(checkout.secrets, "siar_user", type(checkout.secrets.siar_user)("data"))
    make_notebook("plain", "print('my data')", "1 + 1")
    folder, record = run(checkout, "plain")
    assert record.status == "ok"
    executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(executed)
    assert executed.cells[-2].outputs[0].text == "my ***\n"
    assert executed.cells[-1].outputs[0].data["text/plain"] == "2"


def test_what_a_cell_prints_without_end_is_cut_and_said(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook("chatty", "print('x' * 3_000_000)")
    folder, record = run(checkout, "chatty")
    assert record.status == "ok"
    assert "more characters were cut" in (folder / "report.html").read_text(encoding="utf-8")
    assert all(file.stat().st_size < 400_000 for file in folder.iterdir())


def test_a_chart_is_kept_as_a_drawing_and_a_figure_of_ones_own_as_a_picture(
    checkout: Settings, make_notebook: MakeNotebook
) -> None:
    make_notebook(
        "drawn",
        "import matplotlib.pyplot as plt\nfrom factory_lib.views import drawing",
        "own, _ = plt.subplots()\nown",
        "with drawing.chart('Price', 2) as (drawn, axes):\n    axes[0].plot([1, 2])\ndrawn",
    )
    folder, record = run(checkout, "drawn")
    assert record.status == "ok"
    executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
    own, chart = (cell.outputs[0].data for cell in executed.cells[-2:])
    assert set(chart) == {"text/html", "text/plain"}
    assert set(own) == {"image/png", "text/plain"}
