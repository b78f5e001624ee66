"""Exports: every view in a file that says what it holds."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from factory_lib.cli import main
from factory_lib.context import RunContext
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.pipeline.gaps import GAP_COLUMNS, analyse
from factory_lib.planning import daily
from tests.support.week import NOON, furnish

WINDOW = ["--since", "2025-11-17", "--until", "2025-11-22", "--as-of", NOON.isoformat()]


def exported(file: Path, *words: str) -> pd.DataFrame:
    assert main(["export", *words, *WINDOW, "--out", str(file)]) == 0
    return pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_gaps_and_their_account_are_those_of_the_report(
    works: RunContext, tmp_path: Path, suffix: str
) -> None:
    since, until = (
        pd.Timestamp(day, tz="Europe/Madrid").to_pydatetime()
        for day in ("2025-11-17", "2025-11-22")
    )
    report = analyse(works, since, until)
    gaps, books = (exported(tmp_path / f"{name}{suffix}", name) for name in ("gaps", "accounting"))
    assert list(gaps) == [*GAP_COLUMNS, "as_of", "unit", "origin"]
    assert gaps["slots"].tolist() == report.gaps["slots"].tolist()
    assert books["missing"].tolist() == report.accounting["missing"].tolist()
    assert set(books["origin"]) == {"real"}
    one = exported(tmp_path / f"one{suffix}", "accounting", "pvpc_eur_mwh")
    assert one[["series", "unit"]].to_numpy().tolist() == [["pvpc_eur_mwh", "EUR/MWh"]]


def test_forecasts_have_issue_band_and_unit(works: RunContext, tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "series": ["temperature_c", "energy_optimization_score"],
            "place": "5279X",
            "model": "own",
            "issued_at": pd.Timestamp(NOON).as_unit("s"),
            "target_start": pd.Timestamp(NOON + timedelta(days=1)).as_unit("s"),
            "resolution_s": 3600,
            "p10": 10.0,
            "p50": 12.0,
            "p90": 14.0,
            "tier": "model",
        }
    )
    works.store.write_forecasts(rows, run_id="test")
    found = exported(tmp_path / "forecasts.csv", "forecasts")
    assert set(FORECAST_COLUMNS) | {"run_id", "unit", "origin"} <= set(found)
    assert dict(zip(found["series"], found["unit"], strict=True)) == {
        "temperature_c": "°C",
        "energy_optimization_score": "points",
    }


def test_features_name_their_set(works: RunContext, tmp_path: Path) -> None:
    furnish(works, NOON, days=100, quarters=False)  # before October 2025 prices were hourly
    found = exported(tmp_path / "features.parquet", "features", "price_eur_kwh", "tariff_period")
    assert list(found) == [
        "start",
        "price_eur_kwh",
        "tariff_period",
        "feature_hash",
        "as_of",
        "origin",
    ]
    assert (
        main(["export", "features", "nonsense", *WINDOW, "--out", str(tmp_path / "none.csv")]) == 2
    )
    assert found["start"].min() == pd.Timestamp("2025-11-16T23:00Z")


def test_a_series_named_twice_is_written_once(works: RunContext, tmp_path: Path) -> None:
    for times in (1, 2):
        file = str(tmp_path / f"{times}.csv")
        assert main(["export", *["spot_eur_mwh"] * times, *WINDOW[:4], "--out", file]) == 0
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()


def test_the_plan_says_when_it_was_made(small: RunContext, tmp_path: Path) -> None:
    daily.make_plan(small)
    found = exported(tmp_path / "plan.csv", "plan")
    assert found["made_at"].nunique() == 1
    early = [*WINDOW[:-1], "2025-11-19T10:00Z", "--out", str(tmp_path / "early.csv")]
    assert main(["export", "plan", *early]) == 2
    assert {"stage", "start", "end", "kw", "made_at", "origin"} <= set(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["plan"], "no plan yet", id="no plan"),
        pytest.param(["forecasts", "nonsense"], "nonsense", id="forecasts of nothing"),
        pytest.param(["nonsense"], "nonsense", id="no such series"),
        pytest.param(["accounting", "nonsense"], "nonsense", id="account of nothing"),
        pytest.param(["gaps", "nonsense"], "nonsense", id="gaps of nothing"),
        pytest.param(["plan", "nonsense"], "nonsense", id="part of a plan"),
    ],
)
def test_the_error_names_what_is_missing(
    works: RunContext,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", *words, *WINDOW, "--out", str(tmp_path / "x.csv")]) == 2
    assert message in capsys.readouterr().err
