"""The loaders of notebooks: series on their grid, runs of the profile, attributions."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure

from factory_lib import lab
from factory_lib import settings as factory_settings
from factory_lib.admin import export
from factory_lib.cli import jobs
from factory_lib.clock import AS_OF_ENV, from_epoch, save_clock
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, RegistryUnavailable
from factory_lib.models import registry
from factory_lib.results import JobResult
from factory_lib.runs import records, simulation
from factory_lib.settings import Settings
from factory_lib.state import open_state
from factory_lib.state.calls import calls_since
from factory_lib.views import drawing
from tests.unit.conftest import FIRST, SLOTS, Fill

DAY = timedelta(days=1)


def test_a_series_stands_on_its_grid_and_missing_slots_are_unknown(
    ctx: RunContext, fill: Fill
) -> None:
    fill()
    frame = lab.series(ctx, "spot_eur_mwh", since=FIRST - DAY, until=FIRST + 2 * DAY)
    assert list(frame.columns) == ["spot_eur_mwh"]
    assert frame.index.name == "start"
    assert frame["spot_eur_mwh"].isna().sum() == 96
    assert frame["spot_eur_mwh"].notna().sum() == SLOTS


def test_series_of_different_cadence_need_an_hourly_grid(ctx: RunContext, fill: Fill) -> None:
    fill()
    names = ("spot_eur_mwh", "pvpc_eur_mwh")
    with pytest.raises(BadInput, match="differ in cadence"):
        lab.series(ctx, *names, since=FIRST, until=FIRST + DAY)
    frame = lab.series(ctx, *names, since=FIRST, until=FIRST + DAY, hourly=True)
    assert frame.shape == (24, 2)
    assert frame["spot_eur_mwh"].iloc[0] == pytest.approx(50.015)
    assert frame["pvpc_eur_mwh"].isna().all()


def test_who_runs_a_notebook_on_the_demo_needs_no_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    monkeypatch.delenv("FACTORY_SIMULATOR_URL", raising=False)
    settings = factory_settings.load("demo")
    save_clock(settings.paths.clock, simulation.BEGIN)
    for number in range(2):  # the second kernel begins where the first did
        with lab.open_context(settings=factory_settings.load("demo"), lazy=True) as ctx:
            result = lab.ingest(ctx, "ree", 2)
            assert result.metrics["new"] > 0 or number, result.summary
            assert result.status == "ok", result.summary
        save_clock(settings.paths.clock, simulation.BEGIN)


def test_a_notebook_draws_a_chart_as_a_drawing_alone_and_a_figure_of_ones_own_as_a_picture(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr(lab, "get_ipython", lambda: shell)
    with ExitStack() as profiles:
        monkeypatch.setattr(lab, "_profiles", profiles)
        lab.open_profile("live")
    own = Figure()
    own.subplots()
    with drawing.chart("Price", 2) as (chart, _):
        pass
    formats = [set(shell.display_formatter.format(each)[0]) for each in (own, chart)]
    assert formats == [{"image/png", "text/plain"}, {"text/html", "text/plain"}]


def test_features_are_built_without_the_libraries_of_models() -> None:
    # thirty times a day
    blocked = "import sys; sys.modules.update(sklearn=None, mlflow=None)"
    used = "import factory_lib.lab, factory_lib.models.feature_summary, factory_lib.views"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; {used}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_runs_are_listed_newest_first_and_a_damaged_one_too(ctx: RunContext) -> None:
    runs = ctx.settings.paths.runs
    at = ctx.clock.now()
    assert lab.runs(ctx).empty
    for hour in range(3):
        started = at + timedelta(hours=hour)
        folder = records.new_folder(runs, "job", started)
        stamp = records.stamp(started)
        record = records.RunRecord("job", "live", "good", "ok", stamp, stamp, 1, {})
        records.save_record(folder, record)
    (folder / "run.json").write_text("{", encoding="utf-8")
    frame = lab.runs(ctx, most=2)
    assert frame["status"].tolist() == ["unreadable", "ok"]
    assert frame["folder"].tolist()[0] == folder


def test_the_providers_of_stored_values_are_attributed_once(ctx: RunContext, fill: Fill) -> None:
    assert lab.attributions(ctx) == []
    fill()
    assert lab.attributions(ctx) == [ctx.settings.sources["ree"].attribution]


def test_looking_leaves_the_state_as_it_was(settings: Settings) -> None:
    open_state(settings).close()
    before = settings.paths.state.read_bytes()
    ctx = lab.open_profile("live")
    lab.series(ctx, "spot_eur_mwh")
    assert calls_since(ctx.state, from_epoch(0)) == []
    assert settings.paths.state.read_bytes() == before


def test_each_value_says_where_it_is_from(ctx: RunContext, fill: Fill) -> None:
    fill()
    fill(value=60.0)
    used = lab.provenance(ctx, "spot_eur_mwh", since=FIRST)
    assert len(used) == SLOTS
    assert set(used["source"]) == {"ree"}
    assert used["rev"].eq(2).all()
    assert used[["available_at", "retrieved_at", "run_id", "kind"]].notna().all(axis=None)
    every = lab.provenance(ctx, "spot_eur_mwh", since=FIRST, every=True)
    assert len(every) == 2 * SLOTS


def test_everything_is_exported_and_what_is_not_there_yet_says_so(
    ctx: RunContext, fill: Fill, tmp_path: Path
) -> None:
    fill()
    made = lab.export(ctx, tmp_path / "out", since=FIRST)
    files = made.assign(name=[file.stem for file in made["file"]]).set_index("name")
    assert set(files.index) == {"spot_eur_mwh", *export.VIEWS}
    assert files.loc["spot_eur_mwh", "rows"] == SLOTS
    assert "no plan yet" in files.loc["plan", "problem"]
    exported = pd.read_parquet(files.loc["spot_eur_mwh", "file"])
    assert set(exported["unit"]) == {"EUR/MWh"}
    assert set(exported["origin"]) == {"real"}


def test_trainings_stand_side_by_side(ctx: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.trainings(ctx).empty
    assert not (ctx.settings.paths.runs / "mlflow.db").exists()
    log = partial(registry.log, ctx, params={}, models={}, tags={}, artifacts={}, figures={})
    log(name="training first", metrics={"price_mae_eur_mwh": 9.0})
    log(name="training second", metrics={"price_mae_eur_mwh": 8.0, "score_rmae": 0.5})
    log(name="plan from today", metrics={"plan_kg": 1.0}, kind="plans")
    frame = lab.trainings(ctx)
    assert frame["name"].tolist() == ["training second", "training first"]
    assert frame["price_mae_eur_mwh"].tolist() == [8.0, 9.0]
    assert frame["score_rmae"].isna().tolist() == [False, True]
    assert lab.trainings(ctx, "plan")["plan_kg"].tolist() == [1.0]
    monkeypatch.setattr(registry, "experiments", lambda *_: [])  # a server before the first run
    assert lab.trainings(ctx).empty


@pytest.mark.parametrize("given", [date(2026, 1, 31), datetime(2026, 1, 31, 12), 20260131])  # noqa: DTZ001
def test_a_time_without_a_zone_is_refused_by_every_loader(ctx: RunContext, given: Any) -> None:
    loaders = (lab.series, lab.forecasts, lab.explore)
    for load in loaders:
        with pytest.raises(BadInput, match=r"has no time zone\. Write '2026-01-31'"):
            load(ctx, "spot_eur_mwh", since=given)
    with pytest.raises(BadInput, match="has no time zone"):
        lab.gaps(ctx, given)


def test_a_notebook_opens_the_profile_that_a_person_last_worked_in(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.open_profile("").profile == "live"
    demo = factory_settings.load("demo")
    factory_settings.remember(demo)
    assert lab.open_profile("").profile == "live", "there are no data of demo"
    demo.paths.data.mkdir()
    assert lab.open_profile().profile == "demo"
    assert factory_settings.load().profile == "live", "commands do not follow it"
    assert lab.open_profile("history").profile == "history"
    assert lab.open_profile("").profile == "demo", "to look is not to work in it"
    with monkeypatch.context() as kernel:
        kernel.setenv(AS_OF_ENV, "2026-01-01T00:00:00Z")
        assert lab.open_profile("").profile == "live", "a job does not follow it"
    monkeypatch.setenv("FACTORY_PROFILE", "history")
    assert lab.open_profile("").profile == "history"


@pytest.mark.parametrize("caller", ["", "cron"])
def test_what_a_person_runs_is_remembered_and_what_cron_runs_is_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    monkeypatch.setenv("FACTORY_CALLER", caller)
    monkeypatch.setattr(jobs, "_nothing_due", lambda *_: "nothing new")
    assert jobs.run_jobs("history", ["gap_analysis"]) == 0
    assert (home / "data" / "last_profile").is_file() == (caller == "")
    assert lab.open_profile("").profile == ("live" if caller else "history")


def test_a_plan_is_made_though_the_registry_cannot_be_used(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory_lib.monitoring import plan_alerts
    from factory_lib.planning import daily

    def refuse(*_: object) -> None:
        raise RegistryUnavailable("its database is damaged")

    made = SimpleNamespace(files=("plan.json",))
    planned = (made, JobResult("ok", "1,000 kg in 4 batches."))
    monkeypatch.setattr(plan_alerts, "plan_with_alerts", lambda *_: planned)
    monkeypatch.setattr(daily, "logged", refuse)
    result = lab.plan(ctx)
    assert (result.status, result.summary) == ("warn", "1,000 kg in 4 batches.")
    assert "its database is damaged" in result.notes[0]
    assert list(result["files"]["file"]) == ["plan.json"]
