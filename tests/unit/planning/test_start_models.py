"""Forests for the start of a batch: what they learn, what they may know, and their scores."""

from datetime import time, timedelta

import numpy as np
import pandas as pd
import pytest

from benchmarks._plants import committed_plant, tariff_of
from factory_lib.catalogue import Kind, default_catalogue
from factory_lib.clock import local_instant
from factory_lib.domain.indices import CLASSES
from factory_lib.features.horizon import PRICE, VALUES
from factory_lib.models.history import History, load_history
from factory_lib.models.retrain_trigger import result_from_json, result_to_json
from factory_lib.models.scores import Examples
from factory_lib.models.summary import summarise_training
from factory_lib.planning import start_models
from factory_lib.planning.recommendation import OneBatch, one_batch
from factory_lib.planning.start_models import CLASS, REGRET, past_starts, score_starts
from factory_lib.results import JobResult

DAYS = 130
INDEX = pd.date_range("2026-01-05", periods=24 * DAYS, freq="h", tz="UTC", unit="s", name="start")
PLANT, CONTRACT = committed_plant("default", 60)
TARIFF = tariff_of(2026)
SERIES = ("spot_eur_mwh", "temperature_c", "humidity_pct")
KNOWN = {
    column: default_catalogue()[series].publication[Kind.OBSERVED].known_until
    for column, series in zip(VALUES, SERIES, strict=True)
}


def lay(hourly: pd.DataFrame) -> OneBatch:
    return one_batch(PLANT, CONTRACT, TARIFF, hourly, tolls=True)


def hours() -> pd.DataFrame:
    """Prices with a day's shape, high and low weeks and noise; mild weather."""
    draw = np.random.default_rng(1)
    shape = 60 + 40 * np.cos((INDEX.hour - 20) / 24 * 2 * np.pi)
    level = 1 + 0.5 * np.sin(np.arange(len(INDEX)) / 24 / 7)
    price = shape * level + draw.normal(0, 4, len(INDEX))
    columns = {"price_eur_mwh": price, "temperature_c": 17.0, "humidity_pct": 50.0}
    return pd.DataFrame(columns, INDEX)


@pytest.fixture(scope="module")
def hourly() -> pd.DataFrame:
    return hours()


@pytest.fixture(scope="module")
def starts(hourly: pd.DataFrame) -> pd.DataFrame:
    return past_starts(hourly, lay)


@pytest.fixture(scope="module")
def data(hourly: pd.DataFrame, starts: pd.DataFrame) -> Examples:
    return start_models.examples(History(hourly, KNOWN, ()), starts, PLANT)


def test_a_class_matures_with_its_last_price_and_a_hole_leaves_it_out(hourly, starts):
    assert starts.index[-1] == INDEX[-49]  # 25 hours of a chain from the 24th hour on
    assert (starts["matured_at"] - starts.index == pd.Timedelta(hours=49)).all()
    holed = hourly.copy()
    holed.loc[INDEX[2000], PRICE] = np.nan
    left = past_starts(holed, lay)
    assert INDEX[2001] in left.index
    assert not left.index.isin(INDEX[2000 - 48 : 2001]).any()


def test_no_feature_of_an_issue_changes_with_what_came_later(hourly, data):
    issue = data.rows["issued_at"].iloc[len(data) // 2]
    changed = hourly.copy()
    draw = np.random.default_rng(2)
    for name in VALUES:
        later = hourly.index >= KNOWN[name](issue.to_pydatetime())
        changed.loc[later, name] = draw.uniform(5, 95, later.sum())
    again = start_models.examples(History(changed, KNOWN, ()), past_starts(changed, lay), PLANT)
    assert list(again.x.columns) == list(data.x.columns)
    rows = data.rows["issued_at"] == issue
    mine = data.x[rows].reset_index(drop=True)
    theirs = again.x[again.rows["issued_at"] == issue].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, theirs.loc[mine.index])
    assert not data.x.iloc[-1].equals(again.x.iloc[-1])


def test_forests_learn_only_what_had_matured(data):
    begin = data.rows["issued_at"].max() - timedelta(days=20)
    known = KNOWN[PRICE]
    tested = start_models.forecast_starts(data, begin, known, seed=0)
    assert (tested.rows["issued_at"] >= begin).all()
    y = data.y.copy()
    unripe = y["matured_at"] > known(begin)
    y.loc[unripe, [CLASS]] = CLASSES[0]
    y.loc[unripe, [REGRET]] = 999.0
    planted = start_models.forecast_starts(Examples(data.rows, data.x, y), begin, known, seed=0)
    columns = [f"{name}_{by}" for name in (CLASS, REGRET) for by in ("forest", "majority")]
    pd.testing.assert_frame_equal(planted.y[columns], tested.y[columns])
    table = score_starts(tested.y)
    assert table.loc["forest", "right"] > table.loc["majority", "right"]
    assert table.loc["forest", "regret_mae_eur"] < table.loc["majority", "regret_mae_eur"]


def test_the_rule_at_the_real_prices_is_right_and_without_a_path_it_is_unknown(hourly, data):
    rows = data.rows["issued_at"] >= data.rows["issued_at"].max() - timedelta(days=4)
    few = data.where(rows.to_numpy())
    issues = few.rows["issued_at"].drop_duplicates()
    paths = {}
    for issue in issues[:-1]:
        day = issue.tz_convert("Europe/Madrid").date()
        begin, end = (local_instant(day + timedelta(days=n), time(0)) for n in (1, 4))
        paths[issue.to_pydatetime()] = hourly.loc[begin : end - timedelta(hours=1), PRICE]
    rule = start_models.rule_starts(few, paths, hourly, lay)
    last = few.rows["issued_at"] == issues.iloc[-1]
    assert rule[last].isna().all().all()
    assert list(rule.loc[~last, f"{CLASS}_rule"]) == list(few.y.loc[~last, CLASS])
    table = score_starts(few.y.join(rule))
    assert table.loc["rule", "right"] == 1.0
    assert table.loc["rule", "regret_mae_eur"] == pytest.approx(0.0, abs=1e-9)


def test_scores_are_of_the_hours_that_all_forecasts_have():
    y = pd.DataFrame(
        {
            CLASS: ["Optimal", "Reduced", "Halt Production", "Moderate"],
            REGRET: [0.0, 20.0, np.inf, 5.0],
            "usual_eur": 40.0,
            f"{CLASS}_forest": ["Moderate", "Optimal", "Halt Production", "Moderate"],
            f"{REGRET}_forest": [3.0, 21.0, 7.0, 5.0],
            f"{CLASS}_persistence": ["Halt Production", "Reduced", "Reduced", None],
            f"{REGRET}_persistence": [np.inf, 20.0, 9.0, np.nan],
        }
    )
    table = score_starts(y)
    assert list(table.index) == ["forest", "persistence"]
    assert (table["hours"] == 3).all()
    assert table["right"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert table["within_one"].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert table["regret_mae_eur"].tolist() == pytest.approx([2.0, 20.0])


def notes_of(starts: pd.DataFrame) -> str:
    numbers = dict.fromkeys(("mae", "naive_mae", "rmae", "accuracy", "train_rows"), 1.0)
    numbers |= {"persistence_accuracy": 0.5, "majority_accuracy": 0.4}
    metrics = {**numbers, "data_from": "2026-01-01", "data_until": "2026-02-01"}
    tables = {"decisions": pd.DataFrame(), "starts": starts}
    return " ".join(
        summarise_training(metrics, tables, [], {"price": "", "score": ""}, "run").notes
    )


@pytest.mark.parametrize(
    ("forest", "words"),
    [
        pytest.param((0.6, 5.0), "71% and 4.0 EUR. The rule serves.", id="worse"),
        pytest.param((0.8, 3.0), "serves even so", id="better"),
    ],
)
def test_the_page_says_that_the_rule_serves(forest, words):
    rows = {"rule": (0.71, 4.0), "forest": forest}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["right", "regret_mae_eur"])
    assert words in notes_of(table.assign(hours=600))
    assert "too few days to judge the rule" in notes_of(table[:0])


def test_too_short_a_history_has_no_forests(works):
    history = load_history(works, 35)
    table = start_models.judge_starts(works, history, None, None)
    assert table.empty
    assert table.index.name == "by"
    result = JobResult("ok", "", tables={"starts": table})
    assert result_from_json(result_to_json(result))["starts"].empty
