"""Two random forests for the start of a batch, judged ahead beside rule and baselines.

At noon a classifier forecasts ``production_recommendation`` of the next day's working
hours, a regressor their regret. They learn what :func:`~.recommendation.recommend` gives
at published prices, once those had been published, and see what was known at the issue.
The rule over the forecast prices stands beside them; it alone names an hour to wait for,
so it serves in any case.
"""

from collections.abc import Mapping
from datetime import datetime, time, timedelta

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from factory_lib.clock import DAY_S, HOUR_S, MADRID, local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.domain.indices import AHEAD, CLASSES, Floats, start_regret
from factory_lib.domain.plant import operators
from factory_lib.domain.tariff import local_dates
from factory_lib.features import horizon
from factory_lib.features.days import DayMatrix
from factory_lib.features.horizon import HUMIDITY, PRICE, TEMPERATURE
from factory_lib.models.evaluation import rolling_origin
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.history import History
from factory_lib.models.scores import Examples, class_chances, forest_sizes
from factory_lib.planning.recommendation import Lay, lay_for
from factory_lib.settings.plant import Plant

ISSUED = time(12)
CHAIN_DAYS = (1, 2, 3)  # days that chains begun tomorrow, or a day later, reach into
USUAL = pd.Timedelta(days=28)
SETTLED = pd.Timedelta(days=3)  # chains of the days before are over, their prices known
LEARNT_DAYS = 365
TESTED_DAYS = 56
FEWEST_HOURS = 500
REFIT_EVERY = "28D"
DRAWS = 2_000  # a tree: a fit takes a second
CLASS, REGRET, SHARE = "production_recommendation", "regret_eur", "regret_share"
CANDIDATES = ("rule", "forest", "persistence", "majority")


def past_starts(hourly: pd.DataFrame, lay: Lay) -> pd.DataFrame:
    """Judge every hour at published prices.

    Parameters
    ----------
    hourly : DataFrame
        Gapless hourly UTC index, ``horizon.VALUES``.

    Returns
    -------
    DataFrame
        :func:`~factory_lib.domain.indices.start_regret`, ``usual_eur`` (median start of the
        four weeks that end three days before) and ``matured_at``, when the last price
        of it has passed. Hours with an unknown price before then are left out.
    """
    filled = hourly[PRICE].interpolate(limit_direction="both")
    batch = lay(hourly.assign(price_eur_mwh=filled))
    index = batch.problem.index
    cost = batch.eur()
    possible = pd.Series(np.where(np.isfinite(cost), cost, np.nan), index)
    four_weeks = possible.rolling(USUAL, closed="left").median()
    midnight = index.tz_convert(MADRID).normalize().tz_convert("UTC")
    usual: Floats = four_weeks.reindex(midnight - SETTLED).to_numpy(np.float64)
    hours = batch.chain_h + int(AHEAD / pd.Timedelta(hours=1))
    starts = start_regret(index, cost, usual).assign(
        usual_eur=usual, matured_at=index + pd.Timedelta(hours=hours)
    )
    unknown = hourly[PRICE].isna()[::-1].rolling(hours).sum()[::-1]  # NaN at the end
    return pd.DataFrame(starts[(unknown == 0).to_numpy() & np.isfinite(usual)])


def examples(history: History, starts: pd.DataFrame, plant: Plant) -> Examples:
    """Return features and targets of the working hours of each day, issued at noon before.

    Beside :func:`~factory_lib.features.horizon.horizon_features` the regret at the same
    hour as a share of a usual batch, at most 1: the latest known ones, and last week's.
    """
    share = (starts[REGRET] / starts["usual_eur"]).clip(upper=1.0)
    hourly = history.hourly.assign(**{SHARE: share.reindex(history.hourly.index)})
    delay = (starts["matured_at"] - starts.index).iloc[0] - timedelta(seconds=HOUR_S)
    price_until = history.known_until[PRICE]
    known_until = {**history.known_until, SHARE: lambda issued_at: price_until(issued_at) - delay}
    first, last = (market_day(starts.index[edge].to_pydatetime()) for edge in (0, -1))
    rows = horizon.horizon_rows(horizon.issue_times(first, last, (ISSUED,)))
    working = operators(plant, pd.DatetimeIndex(starts.index), HOUR_S) > 0
    rows = rows[rows["day_ahead"] & rows["target_start"].isin(starts.index[working])]
    view = horizon.AsOfView(hourly, rows, known_until)
    shares = dict(enumerate(view.same_hour(SHARE, 4)))
    shares[7] = view.known_values(SHARE, view.target_s - 7 * DAY_S)
    x = horizon.horizon_features(view, rows)
    x = x.assign(**{f"{SHARE}_{days}": values for days, values in shares.items()})
    y = starts.loc[rows["target_start"]].set_axis(rows.index)
    hour = rows["target_start"].dt.tz_convert(MADRID).dt.hour
    day_before = y[[CLASS, REGRET]].groupby(hour).shift()  # the working one
    return Examples(rows, x, y.join(day_before.add_suffix("_persistence")))


def forecast_starts(
    data: Examples, begin: datetime, known_until: horizon.KnownAt, seed: int
) -> Examples:
    """Forecast the examples issued from ``begin`` on by forests fitted before.

    Parameters
    ----------
    known_until : function
        End of the known prices at an issue time: a target is learnt once it matured.

    Returns
    -------
    scores.Examples
        Those forecast; ``y`` with ``<target>_forest`` and ``<target>_majority`` (commonest
        class, median regret of the training rows).
    """
    issued = data.rows["issued_at"]
    parts = []
    origins = pd.date_range(begin, issued.max(), freq=REFIT_EVERY, inclusive="left")
    for origin, block in rolling_origin(issued, origins):
        past = data.where((data.y["matured_at"] <= known_until(origin)).to_numpy())
        if len(past) < FEWEST_HOURS or not block.any():
            continue
        now = data.where(block)
        sizes = forest_sizes(len(past), DRAWS, seed)
        finite = np.isfinite(past.y[REGRET])
        regrets = past.y.loc[finite, REGRET]
        classifier = RandomForestClassifier(**sizes)
        classifier.fit(past.x, past.y[CLASS].astype(str))
        regressor = RandomForestRegressor(**sizes).fit(past.x[finite], regrets)
        forecasts = {
            f"{CLASS}_forest": class_chances(classifier, now.x).idxmax(axis=1),
            f"{REGRET}_forest": regressor.predict(now.x),
            f"{CLASS}_majority": past.y[CLASS].mode()[0],
            f"{REGRET}_majority": regrets.median(),
        }
        parts.append(now.y.assign(**forecasts))
    y = pd.concat(parts) if parts else data.y[:0]
    return Examples(data.rows.loc[y.index], data.x.loc[y.index], y)


def hours_ahead(price: pd.Series, hourly: pd.DataFrame, issued_at: datetime) -> pd.DataFrame:
    """Return forecast prices beside the air of the last 24 hours known at the issue, repeated."""
    # an hour's weather is known an hour after it
    end = pd.Timestamp(issued_at) - pd.Timedelta(hours=1)
    air = hourly.loc[hourly.index < end, [TEMPERATURE, HUMIDITY]].tail(24)
    air = air.set_axis(pd.DatetimeIndex(air.index).hour)
    index = pd.DatetimeIndex(price.index)
    return air.reindex(index.hour).set_axis(index).assign(price_eur_mwh=price)


def rule_starts(
    data: Examples, paths: Mapping[datetime, pd.Series], hourly: pd.DataFrame, lay: Lay
) -> pd.DataFrame:
    """Return class and regret by the rule over forecast prices; index of ``data``, NaN without.

    Parameters
    ----------
    paths : mapping
        By issue time, the forecast price (EUR/MWh) of the hours of ``CHAIN_DAYS``, by ``start``.
    """
    parts = []
    for issued_at, rows in data.rows.groupby("issued_at"):
        at = pd.Timestamp(str(issued_at)).to_pydatetime()
        if (path := paths.get(at)) is None:
            continue
        batch = lay(hours_ahead(path, hourly, at))
        usual = float(data.y.loc[rows.index[0], "usual_eur"])
        judged = start_regret(batch.problem.index, batch.eur(), usual)
        parts.append(judged.loc[rows["target_start"], [CLASS, REGRET]].set_axis(rows.index))
    rule = pd.concat(parts) if parts else data.y.loc[[], [CLASS, REGRET]]
    return rule.reindex(data.rows.index).add_suffix("_rule")


def score_starts(y: pd.DataFrame) -> pd.DataFrame:
    """Compare the forecasts on the hours that all of them have.

    Returns
    -------
    DataFrame
        Indexed by ``by``: ``hours``, ``right`` and ``within_one`` (shares of them; one class
        off at most), ``regret_mae_eur`` where a chain could begin; a forecast without a
        chain counts as a usual batch.
    """
    filled = y.columns[y.notna().any()]
    names = [name for name in CANDIDATES if f"{CLASS}_{name}" in filled]
    y = y.dropna(subset=[f"{CLASS}_{name}" for name in names])
    actual = _codes(y[CLASS])
    possible = y[np.isfinite(y[REGRET])]
    rows = {}
    for name in names:
        off = np.abs(_codes(y[f"{CLASS}_{name}"]) - actual)
        forecast = possible[f"{REGRET}_{name}"].replace(np.inf, np.nan)
        error = forecast.fillna(possible["usual_eur"]) - possible[REGRET]
        rows[name] = {
            "hours": len(y),
            "right": float((off == 0).mean()),
            "within_one": float((off <= 1).mean()),
            "regret_mae_eur": float(error.abs().mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("by")


def _codes(classes: pd.Series) -> np.ndarray:
    return np.asarray(pd.Categorical(classes.astype(str), list(CLASSES)).codes, dtype=np.int64)


def judge_starts(
    ctx: RunContext, history: History, price: PriceForecaster | None, prices: DayMatrix | None
) -> pd.DataFrame:
    """Return :func:`score_starts` of the last weeks before ``ctx.as_of``.

    Parameters
    ----------
    price, prices
        The price model and the days it was fitted on: the rule is judged on forecasts of
        weeks kept from its fit, if there is one.
    """
    settings = ctx.settings
    lay = lay_for(settings)
    recent = history.hourly[-24 * LEARNT_DAYS :]
    recent = recent[recent[PRICE].first_valid_index() :]
    enough = recent[PRICE].count() > FEWEST_HOURS
    starts = past_starts(recent, lay) if enough else recent[:0]
    if len(starts) < FEWEST_HOURS:
        return score_starts(pd.DataFrame(columns=[CLASS, REGRET], dtype=np.float64))
    data = examples(history, starts, settings.plant)
    begin = data.rows["issued_at"].max() - timedelta(days=TESTED_DAYS)
    known_until = history.known_until[PRICE]
    tested = forecast_starts(data, begin, known_until, settings.training.seed)
    y = tested.y
    if price and prices:
        paths = held_out_paths(price, prices, history)
        y = y.join(rule_starts(tested, paths, recent, lay))
    return score_starts(y)


def held_out_paths(
    price: PriceForecaster, prices: DayMatrix, history: History
) -> dict[datetime, pd.Series]:
    """Return the forecasts of ``CHAIN_DAYS`` in the weeks kept from a fit, by issue at noon."""
    parts = []
    for lead in CHAIN_DAYS:
        forecast = price.held_out_forecast(prices, history.operator, lead)
        issue_day = local_dates(pd.DatetimeIndex(forecast.index)) - lead
        parts.append(pd.DataFrame({PRICE: forecast, "issue_day": issue_day}))
    table = pd.concat(parts).dropna()
    shortest = 24 * len(CHAIN_DAYS) - 1
    return {
        local_instant(pd.Timestamp(str(day)).date(), ISSUED): path[PRICE]
        for day, path in table.groupby("issue_day")
        if len(path) >= shortest and pd.infer_freq(pd.DatetimeIndex(path.index)) == "h"
    }
