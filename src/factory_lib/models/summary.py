"""Results of the training and prediction jobs: sentences, key figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID, display_zone
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES, PriceBand
from factory_lib.features.horizon import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.features.weather import BIAS_DAYS
from factory_lib.frames import QUANTILES
from factory_lib.models import registry
from factory_lib.models.prediction import PRICE_INPUTS, Prediction
from factory_lib.models.price_forecast import CHAMPION, FROM_SPOT, NAIVE, PUBLISHED, UNAVAILABLE
from factory_lib.models.scores import OUTDOOR_CLASS, SCORE
from factory_lib.results import JobResult

NOTHING_TRAINED = (
    "Nothing was trained, for want of prices: load some with `factory backfill` or "
    "`factory import FILE`. The weather ahead is forecast from what is stored."
)
_TIERS = {
    PUBLISHED: "published",
    FROM_SPOT: "from the published spot price",
    CHAMPION: "forecast by the champion",
    NAIVE: "by the naive forecast (a published day or a mean of such)",
    UNAVAILABLE: "unavailable",
}
_SUBSTITUTES = {
    SCORE: "The documented rule over the forecasts",
    OUTDOOR_CLASS: "The documented rule over the forecasts",
    PRICE_INPUTS: "What it learnt from prices alone",
}


def summarise_training(
    metrics: Mapping[str, int | float | str],
    tables: Mapping[str, pd.DataFrame],
    data_notes: Sequence[str],
    obstacles: Mapping[str, str],
    run_id: str,
) -> JobResult:
    """Return the result of the training job.

    Parameters
    ----------
    metrics : mapping
        Scores of the next 24 hours, and figures of the training data.
    tables : mapping of str to DataFrame
        ``scores``: one row per question (``scores.slices``), models beside naive
        forecasts. ``fold_mae``: of the score by fold (index) and candidate. ``example``:
        UTC index; ``actual``, ``forecast`` and ``naive`` score of the last tested days.
        ``confusion``: hours by actual (index) and forecast class. ``importances``: index
        feature, its ``share`` in the score model. ``price``: the price model by day ahead,
        EUR/MWh; ``price_days``: its next day by ``evaluation.day_kinds``; ``experts``: see
        ``PriceForecaster.experts``; empty without one. ``starts``: see
        ``planning.start_models.score_starts``. ``decisions``: one row per version, empty if
        they were not registered: ``alias``;
        ``error`` on the rows of the ``benchmark`` hardest to beat, and its own; the ``champion``
        before, its error on rows new to it, and ``error_on_same_hours``; ``measure``;
        ``serving``, the champion now, empty where the rule or the naive forecast serves.
    data_notes, obstacles, run_id
        Provenance of the hours; the reasons why there is no model of ``price`` or
        ``score``, else empty; MLflow's run.
    """
    decisions = tables["decisions"].reindex(columns=["model", "alias", "serving"])
    promoted = decisions.loc[decisions["alias"] == registry.CHAMPION, "model"].tolist()
    without = decisions.loc[decisions["serving"] == "", "model"].tolist()
    notes = [*data_notes, *_data_notes(metrics, obstacles), *_starts_notes(tables["starts"])]
    summary = _training_summary(metrics, promoted, without, registered=len(decisions) > 0)
    is_idle = all(obstacles.values())
    if is_idle:  # on weather alone, whose forecast needs no fit
        summary = NOTHING_TRAINED
        notes = [*data_notes, *(f"No model of the {name}: {x}" for name, x in obstacles.items())]
    names = ", ".join(promoted)
    return JobResult(
        status="warn" if without or is_idle else "ok",
        summary=summary,
        metrics={**metrics, "promoted": names, "mlflow_run_id": run_id, "skipped": 0},
        tables=tables,
        notes=tuple(notes),
    )


def _data_notes(metrics: Mapping[str, Any], obstacles: Mapping[str, str]) -> list[str]:
    """Return the data of the score's models, and the reasons why a model is missing."""
    notes = []
    if obstacles["score"]:
        notes.append(f"No model of the score yet, the rule serves: {obstacles['score']}")
    else:
        notes += [
            f"Trained on {metrics['train_rows']:,} pairs of issue time and hour ahead, "
            f"{metrics['data_from']} to {metrics['data_until']}.",
            "Same hour yesterday is given even where the issue time did not know it yet.",
        ]
    if obstacles["price"]:
        notes.append(f"No price model yet, the naive forecast serves: {obstacles['price']}")
    return notes


def _starts_notes(starts: pd.DataFrame) -> list[str]:
    """Return how the forests for the start of a batch compare with the rule."""
    if "rule" not in starts.index:
        return ["The start of a batch: too few days to judge the rule beside forests. It serves."]
    rule = starts.loc["rule"]
    forest = starts.loc["forest"]
    better = forest["right"] > rule["right"] and forest["regret_mae_eur"] < rule["regret_mae_eur"]
    return [
        f"The start of a batch: forests are right in {forest['right']:.0%} of "
        f"{rule['hours']:,.0f} hours and {forest['regret_mae_eur']:.1f} EUR off, the rule over "
        f"the forecast prices {rule['right']:.0%} and {rule['regret_mae_eur']:.1f} EUR. The rule "
        + ("serves even so: it alone names the hour to wait for." if better else "serves.")
    ]


def _training_summary(
    metrics: Mapping[str, Any],
    promoted: Sequence[str],
    without: Sequence[str],
    *,
    registered: bool,
) -> str:
    price = rule = ""
    if "price_mae" in metrics:
        price = f"price of tomorrow {metrics['price_rmae_best']:.2f} of the best naive error; "
    if "rule_mae" in metrics:
        rule = (
            f"On its {metrics['rule_hours']:,} hours the rule over the forecasts is "
            f"{metrics['rule_mae']:.1f} points off and right in {metrics['rule_accuracy']:.0%}, "
            f"the models {metrics['mae_same_hours']:.1f} and "
            f"{metrics['accuracy_same_hours']:.0%}. "
        )
    parts = [f"Champion now: {', '.join(promoted)}."] if promoted else []
    if without:
        parts.append(f"No champion serves {', '.join(without)}.")
    decision = " ".join(parts) or "The champions stay."
    if not registered:
        decision = "A replay registers no model."
    if "mae" not in metrics:
        return f"The day ahead: {price}no model of the score yet. {decision}"
    return (
        f"The day ahead: {price}score {metrics['mae']:.1f} points off, the same hour yesterday "
        f"{metrics['naive_mae']:.1f} (rMAE {metrics['rmae']:.2f}); outdoor index right in "
        f"{metrics['accuracy']:.0%} of hours, yesterday's in "
        f"{metrics['persistence_accuracy']:.0%}, the commonest class in "
        f"{metrics['majority_accuracy']:.0%}. {rule}{decision}"
    )


def summarise_prediction(
    prediction: Prediction, advice: pd.DataFrame, regret: pd.DataFrame | None = None
) -> JobResult:
    """Return the result of the prediction job.

    Tables: ``hourly``, ``slots`` and ``verification`` of the prediction; ``advice``, the
    start of a batch by working hour (``planning.recommendation``); ``regret``, the euros
    that past errors cost (``planning.review``); ``starts_ahead`` and ``blocks``,
    see there;
    ``price_chart`` and ``score_chart``, as ``views.learning_charts.forecast`` draws them.
    """
    hourly = prediction.hourly
    slots = prediction.slots
    tier = hourly["tier"]
    # Days on, a naive forecast may be the better one; of tomorrow, it means that
    # something is missing.
    fallen_back = (tier == UNAVAILABLE).any() or (tier.iloc[:48] == NAIVE).any()
    drifts = [f"{name}: {sentence}" for name, sentence in prediction.drifts.items()]
    price_chart = slots[["price_p10", PRICE, "price_p90"]].set_axis(list(QUANTILES), axis=1)
    score_chart = hourly[["score_p10", "score", "score_p90"]]
    return JobResult(
        status="warn" if drifts or fallen_back else "ok",
        summary=_prediction_summary(hourly, advice, drifts),
        metrics={
            **_prediction_metrics(hourly, advice),
            **_regret_metrics(regret),
            "stored": prediction.stored,
        },
        tables={
            "hourly": hourly,
            "slots": slots,
            "advice": advice,
            "starts_ahead": starts_ahead(advice),
            "blocks": blocks(hourly, prediction.band),
            "verification": prediction.verification,
            "regret": pd.DataFrame() if regret is None else regret,
            "price_chart": price_chart.assign(
                actual=slots[PRICE].where(slots["tier"] == PUBLISHED)
            ),
            "score_chart": score_chart.set_axis(list(QUANTILES), axis=1),
        },
        notes=(*_prediction_notes(prediction), *_regret_notes(hourly, regret), *drifts),
    )


def _regret_notes(hourly: pd.DataFrame, regret: pd.DataFrame | None) -> list[str]:
    """Return what the errors of past forecasts cost, and whether one of tomorrow can."""
    notes = []
    if mean := _regret_metrics(regret):
        notes.append(
            f"Starts chosen before publication, {mean['regret_days']} day(s): the forecast was "
            f"{mean['regret_mae_eur_mwh']:.1f} EUR/MWh off, which cost a batch "
            f"{mean['regret_eur']:.2f} EUR, the naive forecast {mean['naive_regret_eur']:.2f} EUR."
        )
    local_day = pd.DatetimeIndex(hourly.index).tz_convert(MADRID).normalize()
    tomorrow = hourly["tier"][local_day == local_day[0] + pd.Timedelta(days=1)]
    if len(tomorrow) and (tomorrow == PUBLISHED).all():
        notes.append(
            "Tomorrow's prices are published: errors of the forecast mean nothing for tomorrow."
        )
    return notes


def _regret_metrics(regret: pd.DataFrame | None) -> dict[str, float]:
    """Return the means of ``planning.forecast_regret`` over its days, if there are any."""
    if regret is None or regret.empty:
        return {}
    columns = {
        "regret_mae_eur_mwh": "mae",
        "regret_eur": "regret_eur",
        "naive_regret_eur": "naive_regret_eur",
    }
    means = {name: round(float(regret[column].mean()), 3) for name, column in columns.items()}
    return {"regret_days": len(regret), **means}


def _prediction_summary(hourly: pd.DataFrame, advice: pd.DataFrame, drifts: Sequence[str]) -> str:
    next_day = hourly.iloc[:24]
    price = next_day[PRICE]
    if price.isna().all():
        no_price = (
            "The price of the next 24 hours is unavailable: no recent day of prices is stored."
        )
        air = next_day[TEMPERATURE]
        weather = f" The weather is forecast: {air.min():.0f} to {air.max():.0f} °C."
        return no_price + (weather if air.notna().any() else " Nor is the weather known.")
    cheapest = pd.Timestamp(str(price.idxmin())).tz_convert(display_zone())
    best = _next_start(advice.iloc[0]) if len(advice) else ""
    drift = f" Drift: {' '.join(drifts)}" if drifts else ""
    return (
        f"The coming day: {price.mean():.0f} EUR/MWh in the mean, cheapest at "
        f"{cheapest:%A %H:%M} ({price.min():.0f}){best}. {tiers(hourly)}{drift}"
    )


def _next_start(row: pd.Series) -> str:
    """Return the advice for one start, to go on a sentence with."""
    if pd.isna(row["best_start"]):
        return ""
    start = pd.Timestamp(str(row.name)).tz_convert(display_zone())
    label = row["production_recommendation"]
    if label == CLASSES[0]:
        return f"; a batch begun on {start:%A %H:%M} is {label}"
    wait = row["best_start"].tz_convert(display_zone())
    saving = f" and saves {row['regret_eur']:.0f} EUR" if np.isfinite(row["regret_eur"]) else ""
    return (
        f"; a batch begun on {start:%A %H:%M} is {label}, the best start is {wait:%A %H:%M}{saving}"
    )


def starts_ahead(advice: pd.DataFrame) -> pd.DataFrame:
    """Return the advice as people read it, one row for each start.

    Returns
    -------
    DataFrame
        ``start``, ``production_recommendation``, ``wait_for`` (local time; "begin" where
        the start is Optimal, "no start within a day" where there is none), ``regret_eur``,
        NaN where no chain can begin, ``probability_pct`` of the class.
    """
    chances = [f"p_{name}" for name in CLASSES]
    columns = ["production_recommendation", "best_start", "regret_eur", *chances]
    judged = advice.reindex(columns=columns).dropna(subset=columns[0])
    label = judged["production_recommendation"].astype(str)
    best = pd.to_datetime(judged["best_start"], utc=True).dt.tz_convert(display_zone())
    wait = best.dt.strftime("%a %H:%M").fillna("no start within a day")
    number = pd.Categorical(label, list(CLASSES)).codes
    shares = judged[chances].to_numpy(dtype=np.float64)
    table = {
        "production_recommendation": label,
        "wait_for": wait.mask(label == CLASSES[0], "begin"),
        "regret_eur": judged["regret_eur"].replace(np.inf, np.nan),
        "probability_pct": 100 * shares[np.arange(len(judged)), number],
    }
    return pd.DataFrame(table).rename_axis("start").reset_index()


def _prediction_metrics(hourly: pd.DataFrame, advice: pd.DataFrame) -> dict[str, int | float | str]:
    metrics: dict[str, int | float | str] = {"hours": len(hourly)}
    metrics |= {tier: int((hourly["tier"] == tier).sum()) for tier in _TIERS}
    for name in CLASSES:
        count = int((advice["production_recommendation"] == name).sum()) if len(advice) else 0
        metrics[f"hours_{name.split()[0].lower()}"] = count
    price = hourly[PRICE].iloc[:24].mean()
    return metrics if np.isnan(price) else {**metrics, "price_next_24h_eur_mwh": round(price, 2)}


def _prediction_notes(prediction: Prediction) -> list[str]:
    """Return the provenance of prices, scores and weather."""
    notes = list(prediction.history_notes)
    if unavailable := int((prediction.hourly["tier"] == UNAVAILABLE).sum()):
        notes.append(f"{unavailable} hours have no price: no whole day of prices is near enough.")
    if prediction.naive_leads:
        leads = ", ".join(map(str, prediction.naive_leads))
        notes.append(f"Naive where the champion was no better on held-out weeks: day {leads}.")
    notes += [
        f"{reason} {_SUBSTITUTES.get(model, 'The naive forecast')} serves."
        for model, reason in prediction.unserved.items()
    ]
    notes += [
        f"{model} of {hours} hours is the champion's."
        for model, hours in prediction.served_hours.items()
        if hours
    ]
    weather = prediction.weather
    if not weather.provider:
        notes += ["No provider's weather forecast is stored: climatology of the site's own past."]
    elif not weather.compared_days:
        notes += [f"Weather: forecast of {weather.provider}, as issued: none can be compared yet."]
    else:
        days = f"{weather.compared_days} of the last {BIAS_DAYS} days"
        notes.append(
            f"Weather: forecast of {weather.provider}, less its mean error by hour over {days}."
        )
    if np.isnan(prediction.band.low_eur_kwh):
        days = f"{indices.BAND_MINIMUM_DAYS} days of prices"
        notes.append(f"Score and outdoor index are unknown: {days} are needed for them.")
    return notes


def tiers(hourly: pd.DataFrame) -> str:
    """Return a sentence on the tiers of the prices, each with its end in local time."""
    tier = hourly["tier"]
    parts = []
    for _, run in tier.groupby((tier != tier.shift()).cumsum()):
        end = (pd.DatetimeIndex(run.index)[-1] + pd.Timedelta(hours=1)).tz_convert(display_zone())
        parts.append(f"{_TIERS[str(run.iloc[0])]} until {end:%a %d %b %H:%M}")
    return f"Prices: {', then '.join(parts)}."


def blocks(hourly: pd.DataFrame, band: PriceBand) -> pd.DataFrame:
    """Return consecutive hours of a local day with one class, one row per block.

    Returns
    -------
    DataFrame
        ``start``, ``hours``, ``outdoor_index_class``, ``probability``, means of price,
        temperature, humidity and score, ``reason``.
    """
    means = [PRICE, TEMPERATURE, HUMIDITY, "score"]
    columns = ["start", "hours", "outdoor_index_class", "probability", *means, "reason"]
    classified = hourly.dropna(subset=["outdoor_index_class"])
    local_day = pd.DatetimeIndex(classified.index).tz_convert(display_zone()).normalize()
    keys = classified.assign(day=local_day)[["outdoor_index_class", "day"]]
    changes = (keys != keys.shift()).any(axis=1)
    rows = []
    for _, block in classified.groupby(changes.cumsum()):
        name = str(block["outdoor_index_class"].iloc[0])
        row = {
            "start": block.index[0],
            "hours": len(block),
            "outdoor_index_class": name,
            "probability": float(block[f"p_{name}"].mean()),
            "reason": reason(block, band),
        }
        rows.append({**row, **block[means].mean()})
    return pd.DataFrame(rows, columns=columns)


def reason(block: pd.DataFrame, band: PriceBand) -> str:
    """Return a sentence on the points missing from a score of 100, and the class's cause.

    The points of price and air are those of the rule for the hours forecast; the rest is
    due to the errors that such forecasts make, or to a champion's own forecast. The parts
    add up to the score.

    Parameters
    ----------
    block : DataFrame
        Hours of one class: price, temperature, humidity, ``score``,
        ``outdoor_index_class``.
    """
    eci = indices.energy_cost_index(
        block[PRICE] * MWH_PER_KWH, band.low_eur_kwh, band.high_eur_kwh
    ).mean()
    discomfort = 100.0 - indices.temperature_comfort_index(block[TEMPERATURE]).mean()
    stress = indices.humidity_stress_factor(block[HUMIDITY]).mean()
    temperature_c = block[TEMPERATURE].mean()
    score = round(block["score"].mean())
    # rounded in sums, so that parts add up
    by_price = round(0.7 * eci)
    by_both = round(0.7 * eci + 0.3 * discomfort)
    by_air = by_both - by_price
    rest = 100 - score - by_both
    points = {
        f"a price of {block[PRICE].mean():.0f} EUR/MWh takes {by_price}": by_price,
        f"outdoor air of {temperature_c:.0f} °C takes {by_air}": by_air,
        f"what forecasts miss {'takes' if rest > 0 else 'gives back'} {abs(rest)}": rest,
    }
    parts = [part for part, value in points.items() if value]
    joined = " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
    sentence = f"Score {score} of 100: {joined or 'nothing is taken'}"
    recommendation = str(block["outdoor_index_class"].iloc[0])
    if recommendation == CLASSES[0]:
        return f"{sentence}."
    air = "warm air" if temperature_c > indices.COMFORT_C else "cold air"
    causes = {air: discomfort, "the price": 0.5 * eci, "humidity": 0.3 * stress}
    cause = max(causes, key=causes.__getitem__)
    return f"{sentence}. Outdoor index {recommendation}, mostly because of {cause}."
