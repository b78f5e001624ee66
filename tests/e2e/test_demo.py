"""The whole job, as a new user sees it."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from factory_lib.cli import demo as demo_job
from factory_lib.clock import from_epoch, load_clock
from factory_lib.context import open_context
from factory_lib.domain.indices import CLASSES
from factory_lib.pipeline.gaps import analyse
from factory_lib.pipeline.ingest import ingest
from factory_lib.planning import recommendation
from factory_lib.runs import records, report, simulation
from factory_lib.runs.records import RunRecord
from factory_lib.state import open_state
from factory_lib.state.calls import calls_since
from tests.e2e.demo_run import Demo, factory, start, tree
from tests.support.notebooks import execute, printed

pytestmark = pytest.mark.timeout(1200)  # whoever comes first waits for the demo

FIRST_DAY = simulation.BEGIN - timedelta(days=1)
DEMO_RUNS = (*demo_job.CHAIN, *demo_job.SECOND_DAY)


def newest(demo: Demo, job: str) -> RunRecord:
    """Return the record of a job's last run."""
    runs = map(records.load_record, records.folders(demo.settings.paths.runs))
    return max((run for run in runs if run.job == job), key=lambda run: run.as_of)


def test_the_jobs_end_well(demo: Demo) -> None:
    assert demo.code == 0, demo.printed
    runs = [records.load_record(folder) for folder in records.folders(demo.settings.paths.runs)]
    assert sorted(run.job for run in runs) == sorted(DEMO_RUNS)
    assert {run.status for run in runs} == {"ok"}
    assert all(run.simulated and run.summary and run.metrics for run in runs)
    assert str(demo.settings.paths.runs / "index.html") in demo.printed
    notebooks = demo.settings.paths.runs.glob("*/*/notebook.ipynb")
    assert [text for file in notebooks for text in printed(nbformat.read(file, 4))] == []


def test_every_component_that_the_jobs_called_is_counted(demo: Demo) -> None:
    with open_state(demo.settings, read_only=True) as state:
        calls = calls_since(state, from_epoch(0))
    counts = Counter((call.component, call.status in ("ok", "200")) for call in calls)
    assert {component for component, good in counts if good} == {"http", "store", "registry"}
    assert counts["store", False] == 0


def test_every_page_says_simulated_and_makes_no_request(demo: Demo) -> None:
    pages = sorted(demo.home.glob("runs/demo/**/*.html"))
    assert len([page for page in pages if page.name == "report.html"]) == len(DEMO_RUNS)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "SIMULATED" in text, page
        assert not re.search(r"<script|<link|src=\"(?!data:)|url\((?!data:|#)|@import", text), page


def test_the_index_leads_to_every_report(demo: Demo) -> None:
    index = demo.settings.paths.runs / "index.html"
    links = re.findall(r'href="([^"]+)"', index.read_text(encoding="utf-8"))
    assert len({link for link in links if link.endswith("report.html")}) == len(DEMO_RUNS)
    assert all((index.parent / link).is_file() for link in links)


def test_the_training_judged_forests_and_two_days_of_advice_have_every_class(demo: Demo) -> None:
    metrics = {
        run.job: run.metrics
        for run in map(records.load_record, records.folders(demo.settings.paths.runs))
    }
    for by in ("rule", "forest", "persistence", "majority"):
        assert 0 < metrics["ml_training"][f"start_class_{by}_right_share"] <= 1
        assert metrics["ml_training"][f"start_regret_{by}_mae_eur"] > 0
    with open_context(settings=demo.settings, read_only=True) as ctx:
        advice = recommendation.load_advice(ctx)
    two_days = advice["production_recommendation"][: advice.index[0] + pd.Timedelta(days=2)]
    assert set(two_days) == set(CLASSES)


def test_holes_were_found_and_filled_and_the_store_says_so(demo: Demo) -> None:
    result = {
        run.job: run.metrics
        for run in map(records.load_record, records.folders(demo.settings.paths.runs))
    }
    assert result["gap_analysis"]["missing"] > 1000
    filled = result["auto_backfill_check"]
    assert filled["recovered"] > 1000
    assert (
        result["gap_analysis"]["missing"]
        == filled["missing"] - filled["missing_quarantined"] + filled["untouched"]
    )
    with open_context(settings=demo.settings, as_of=simulation.BEGIN) as ctx:
        after = analyse(ctx).metrics
    assert (
        after["missing"] < result["gap_analysis"]["missing"] / 10
    )  # what is left is too short to be filled unasked
    assert after["unfillable"] == result["auto_backfill_check"]["unfillable"]


def test_a_verdict_has_at_most_three_numbers(demo: Demo) -> None:
    summaries = [
        records.read_record(each).summary for each in records.folders(demo.settings.paths.runs)
    ]
    verdicts = {report.parted(summary)[0] for summary in summaries}
    assert len(verdicts) > 6
    for verdict in verdicts:
        assert len(re.findall(r"\d[\d,.:]*", verdict)) <= 3, verdict


def test_ingesting_again_brings_what_is_new_and_then_nothing(
    later: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(later.home))
    now = simulation.BEGIN + timedelta(hours=2)
    with (
        simulation.start(later.settings, now) as settings,
        open_context(settings=settings, as_of=now) as ctx,
    ):
        assert ingest(ctx, "all").metrics["new"] > 0
        before = ctx.store.inventory()
        outcome = ingest(ctx, "all")
        after = ctx.store.inventory()
    assert outcome.metrics["new"] == outcome.metrics["revised"] == 0
    assert outcome.metrics["unchanged"] > 0
    assert before.equals(after)


def test_a_notebook_run_by_plain_papermill_tells_the_same(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(demo.home))
    parameters = {"profile": "demo", "as_of": records.stamp(FIRST_DAY)}
    source = demo.settings.paths.notebooks / "04_feature_engineering.ipynb"
    result = report.metrics(execute(source, tmp_path / "out.ipynb", parameters))
    ran = newest(demo, "feature_engineering")
    assert result["summary"] == ran.summary
    assert result["feature_hash"] == ran.metrics["feature_hash"]


def test_the_tour_runs_on_the_demo(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(demo.home))
    parameters = {"profile": "demo", "as_of": records.stamp(simulation.BEGIN)}
    source = demo.settings.paths.notebooks / "research" / "00_tour.ipynb"
    result = report.metrics(execute(source, tmp_path / "out.ipynb", parameters))
    assert result["simulated"]
    assert result["summary"]


def test_the_plan_of_the_demo_is_the_cheapest_and_lies_in_its_files(demo: Demo) -> None:
    result = newest(demo, "production_optimization")
    assert result.mlflow_run_id
    assert float(result.metrics["cost_eur"]) <= float(result.metrics["baseline_cost_eur"])
    folder = demo.settings.paths.data / "plans"
    written = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert written["schema"].startswith("factory-plan/")
    kg = {stage["batch"]: stage["kg"] for stage in written["stages"]}
    assert sum(kg.values()) == pytest.approx(float(result.metrics["kg"]), abs=0.1)
    assert {file.name for file in folder.iterdir()} >= {"plan.json", "plan.csv", "plan.ics"}


def test_the_plan_of_the_shift_leader_keeps_overrides_and_a_preview_writes_nothing(
    later: Demo,
) -> None:
    words = ("plan", "--profile", "demo")
    shown = factory(later.home, *words, "--out", "conche", "22:00", "--language", "en")
    assert shown.returncode == 0, shown.stderr
    assert "Shift sheet" in shown.stdout
    assert "conche out of order until" in shown.stdout
    listed = json.loads(factory(later.home, *words, "override", "list", "--json").stdout)
    assert [row["number"] for row in listed] == [1]
    before = tree(later.home)
    preview = json.loads(factory(later.home, *words, "--what-if", "operators=-1", "--json").stdout)
    assert [row["plan"] for row in preview["plans"]] == ["as it is", "with the change"]
    assert tree(later.home) == before
    assert factory(later.home, *words, "override", "remove", "1").returncode == 0
    assert json.loads(factory(later.home, *words, "override", "list", "--json").stdout) == []
    refused = factory(later.home, *words, "--pin", "standard", "mixing", "25:00")
    assert (refused.returncode, "not understood" in refused.stderr) == (2, True)


def test_a_replay_sees_only_what_was_known_then(demo: Demo) -> None:
    earlier = simulation.BEGIN - timedelta(days=10)
    with open_context(settings=demo.settings, as_of=earlier) as ctx:
        rows = ctx.store.read(
            "spot_eur_mwh",
            places=("ES",),
            start=earlier,
            end=earlier + timedelta(days=5),
            as_of=ctx.as_of,
        )
    assert len(rows)
    assert (rows["available_at"] <= earlier).all()


@pytest.mark.parametrize(
    ("words", "code", "output"),
    [
        pytest.param(("run", "nonsense"), 2, "There is no job 'nonsense'", id="unknown job"),
        pytest.param(
            ("run", "ingest", "--param", "daze=3"), 2, "no parameter daze", id="unknown parameter"
        ),
        pytest.param(
            ("run", "ingest", "--as-of", "yesterday"),
            2,
            "not a date or an instant",
            id="bad instant",
        ),
        pytest.param(("--profile", "prod", "jobs"), 2, "no profile 'prod'", id="unknown profile"),
        pytest.param(("import", "absent.csv"), 2, "absent.csv", id="absent file"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, output: str
) -> None:
    ran = factory(tmp_path, *words)
    assert ran.returncode == code
    assert output in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_demos_commands_go_on_at_its_own_time_with_a_simulator_of_their_own(
    later: Demo,
) -> None:
    def left_at() -> datetime:
        found = load_clock(later.settings.paths.clock)
        assert found
        return found

    before = left_at()
    assert timedelta(0) <= before - simulation.BEGIN < timedelta(hours=1)
    result = json.loads(factory(later.home, "backfill", "--profile", "demo", "--json").stdout)
    assert result["metrics"]["recovered"] == result["metrics"]["missing"] > 0
    result = json.loads(factory(later.home, "gaps", "--profile", "demo", "--json").stdout)
    assert result["metrics"]["missing"] == 0
    assert before < left_at() < before + timedelta(minutes=5)


def test_the_readmes_example_runs_after_the_demo_as_it_is_printed(later: Demo) -> None:
    before = tree(later.home / "data" / "demo" / "plans")
    (example,) = re.findall(
        r"```python\n(.*?)```",
        (later.settings.paths.root / "README.md").read_text("utf-8"),
        re.DOTALL,
    )
    shown = "assert prices.notna().mean().item() > 0.9; print(len(lab.runs(ctx)), 'runs')"
    ran = start(later.home, sys.executable, "-c", example + shown)
    assert ran.returncode == 0, ran.stderr
    kept = len(list(records.folders(later.settings.paths.runs)))
    assert kept
    assert ran.stdout == f"{kept} runs\n"
    assert tree(later.home / "data" / "demo" / "plans") != before


def test_a_notebook_of_the_demo_knows_how_to_reach_its_providers(later: Demo) -> None:
    with open_context(settings=later.settings) as ctx:
        outcome = ingest(ctx, "ree")
    assert outcome.metrics["sources_failed"] == 1
    assert any(
        "no simulator runs; `factory run` and `factory backfill` start one" in note
        for note in outcome.notes
    )


def test_the_commands_of_a_demo_profile_answer_in_json(demo: Demo) -> None:
    as_of = records.stamp(simulation.BEGIN)
    result = json.loads(
        factory(demo.home, "gaps", "--profile", "demo", "--as-of", as_of, "--json").stdout
    )
    assert result["metrics"]["present"] > 0
    jobs = json.loads(factory(demo.home, "jobs", "--profile", "demo", "--json").stdout)
    assert {job["job"] for job in jobs if job["status"] in ("ok", "warn")} == set(demo_job.CHAIN)
