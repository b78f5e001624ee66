"""Planned, expected, made and metered, side by side."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import day_bounds, slots_in_day
from factory_lib.context import RunContext
from factory_lib.importers import import_path
from factory_lib.planning import daily, review
from tests.support.week import EVENING, NOON, THURSDAY

FRIDAY_MORNING = day_bounds(THURSDAY)[1] + timedelta(hours=7)


def row(found: review.PlanReview, day: date) -> pd.Series:
    return found.days.set_index("day").loc[f"{day:%a %d %b}"]


def metered(folder: Path, days: list[date], kwh: float, *, minutes: int = 15) -> Path:
    file = folder / "meter.csv"
    lines = ["time_utc,energy_kwh"]
    for day in days:
        start, _ = day_bounds(day)
        for n in range(slots_in_day(day, minutes * 60)):
            lines.append(f"{start + timedelta(minutes=minutes * n):%Y-%m-%dT%H:%M:%SZ},{kwh}")
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file


@pytest.fixture
def friday(works: RunContext) -> RunContext:
    """Friday morning, Thursday's plan made and kept on Wednesday evening."""
    daily.plan_today(replace(works, as_of=EVENING))
    return replace(works, as_of=FRIDAY_MORNING)


def test_a_kept_plan_is_held_to_its_day_and_the_others_are_planned_afterwards(
    friday: RunContext,
) -> None:
    found = review.review(friday, days=3)
    assert list(found.days["plan"]) == [review.AFTERWARDS, review.AFTERWARDS, review.KEPT]
    thursday = row(found, THURSDAY)
    assert thursday["planned_kg"] == pytest.approx(900 * 200 / 1050, abs=0.1)
    assert thursday["planned_eur"] == pytest.approx(thursday["plan_as_charged_eur"]), (
        "it was made after publication"
    )
    assert np.isnan(thursday["billed_eur"])
    assert any("factory import meter" in note for note in found.notes)


def test_planning_again_during_the_day_takes_nothing_from_its_review(friday: RunContext) -> None:
    before = row(review.review(friday, days=1), THURSDAY)
    start, _ = day_bounds(THURSDAY)
    for hours in (4, 20, 21):
        again = daily.plan_today(
            replace(friday, as_of=start + timedelta(hours=hours)), first=THURSDAY
        )
        assert again.level == "ok"
    after = row(review.review(friday, days=1), THURSDAY)
    for name in ("planned_kg", "planned_kwh", "plan_as_charged_eur"):
        assert after[name] == pytest.approx(before[name], rel=0.02), name


def test_energy_planned_is_that_of_the_stages_and_of_what_always_runs(works: RunContext) -> None:
    quiet = review.review(
        replace(works, as_of=FRIDAY_MORNING + timedelta(days=3)), days=1
    )  # Sunday
    assert quiet.days["planned_kwh"].item() == pytest.approx(368)
    assert quiet.days["planned_kg"].item() == 0
    whole = review.review(replace(works, as_of=FRIDAY_MORNING), days=2).days
    assert (whole["planned_kwh"] > 368 + 300).all()


@pytest.mark.parametrize(("minutes", "kwh"), [(15, 10.0), (60, 40.0)], ids=["quarters", "hours"])
def test_billed_is_metered_energy_at_the_published_price(
    friday: RunContext, tmp_path: Path, minutes: int, kwh: float
) -> None:
    import_path(friday, metered(tmp_path, [THURSDAY], kwh, minutes=minutes))
    day = row(review.review(friday, days=2), THURSDAY)
    start, end = day_bounds(THURSDAY)
    price = friday.store.read("spot_eur_mwh", places=["ES"], start=start, end=end)["value"]
    assert day["metered_kwh"] == pytest.approx(960)
    assert day["billed_eur"] == pytest.approx(10 * price.sum() / 1000)


def test_half_a_day_of_energy_is_not_the_day(friday: RunContext, tmp_path: Path) -> None:
    file = metered(tmp_path, [THURSDAY], 10.0)
    file.write_text(
        "\n".join(file.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8"
    )
    import_path(friday, file)
    assert np.isnan(row(review.review(friday, days=1), THURSDAY)["metered_kwh"])


def test_kilograms_produced_stand_beside_those_planned(friday: RunContext, tmp_path: Path) -> None:
    file = tmp_path / "made.csv"
    file.write_text(f"day,produced_kg\n{THURSDAY},165.5\n", encoding="utf-8")
    import_path(friday, file)
    assert row(review.review(friday, days=1), THURSDAY)["produced_kg"] == 165.5


def test_what_was_not_known_yet_is_not_reviewed(friday: RunContext) -> None:
    earlier = review.review(replace(friday, as_of=NOON), days=2)
    assert set(earlier.days["plan"]) == {review.AFTERWARDS}


def test_a_store_without_prices_has_days_without_plans(ctx: RunContext) -> None:
    found = review.review(ctx, days=2)
    assert list(found.days["plan"]) == [review.NONE] * 2
    assert found.days["planned_eur"].isna().all()
    assert found.prices["p50"].isna().all()


def test_a_batch_moved_by_the_next_days_plan_is_counted_once(works):
    def at(day, hour, minute=0):
        return replace(works, as_of=datetime(2025, 11, day, hour, minute, tzinfo=UTC))

    friday = date(2025, 11, 21)
    daily.plan_today(at(19, 13, 30), first=THURSDAY)
    daily.plan_today(at(20, 5), first=THURSDAY, wishes=["order standard 200 22:00"])
    daily.plan_today(at(20, 13, 10), first=friday, wishes=["out temperer 2025-11-20T18:30"])
    daily.plan_today(at(20, 20, 10), first=friday)
    (day,) = review.review(at(21, 7), days=1).days.to_dict("records")
    assert day["planned_kg"] == pytest.approx(371.4, abs=0.2)
    assert np.isfinite(day["planned_eur"])
