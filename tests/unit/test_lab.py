"""The loaders of notebooks: series on their grid, runs of the profile, attributions."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from factory_lib import lab
from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, RegistryUnavailable
from factory_lib.results import JobResult
from factory_lib.runs import records
from factory_lib.settings import Settings
from factory_lib.state import open_state
from factory_lib.state.calls import calls_since
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
