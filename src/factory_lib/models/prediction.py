"""The hours ahead: price, weather, score and recommendation with their probabilities, and the reason in words.

Every run stores what it says as forecasts of the model ``factory``, so that the journal
can hold it to that later; a forecast that says nothing new is issued once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from factory_lib.clock import HOUR_S, day_start, epoch, market_day
from factory_lib.context import RunContext
from factory_lib.domain import indices
from factory_lib.domain.indices import PriceBand
from factory_lib.errors import BadInput
from factory_lib.features.documented import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.models import history as histories
from factory_lib.models import prediction_summary as words
from factory_lib.models import verification
from factory_lib.models.candidates import price_name
from factory_lib.models.expectation import COLUMNS, Floats, expect
from factory_lib.models.history import History
from factory_lib.models.price_forecast import (
    CHAMPION,
    NAIVE,
    PUBLISHED,
    QUANTILES,
    UNAVAILABLE,
    prices_ahead,
)
from factory_lib.models.serving import champion, served_scores
from factory_lib.models.weather_forecast import OWN, AirAhead, air_ahead, errors_of
from factory_lib.slots import to_index

LONGEST_DAYS = 7
HISTORY_DAYS = 4 * 365  # climatology looks at the same days of so many years
SCORE_SERIES = "energy_optimization_score"
_LEAST_SPREAD_DRAWS = 120


@dataclass(frozen=True)
class PredictionOutcome:
    """What is to be expected, as its page and its run record tell it.

    Attributes
    ----------
    hourly : DataFrame
        UTC index: ``price_eur_mwh`` with ``price_p10`` and ``price_p90``, ``tier``,
        ``temperature_c``, ``humidity_pct``, ``weather_source``,
        ``expectation.COLUMNS``, ``score_source`` and ``recommendation_source`` (rule or
        champion).
    slots : DataFrame
        UTC index at the market's cadence, quarters since October 2025: price, band and
        tier. Hours are their means.
    blocks : DataFrame
        Consecutive hours of a market day with one recommendation: ``start``, ``hours``,
        ``recommendation``, ``probability``, means of price, temperature and score,
        ``reason``.
    journal : DataFrame
        ``journal.COLUMNS`` after ``series``: past forecasts against what came, by lead
        in market days.
    drifts : dict of str to str
        Series whose recent forecasts are out of line, and how.
    notes : tuple of str
        Which tier serves which hours, and what else a reader has to know.
    """

    verdict: str
    level: str
    figures: dict[str, int | float | str]
    notes: tuple[str, ...]
    hourly: pd.DataFrame
    slots: pd.DataFrame
    blocks: pd.DataFrame
    journal: pd.DataFrame
    drifts: dict[str, str]

    @property
    def price_chart(self) -> pd.DataFrame:
        """The price with its band at the market's cadence, and the published part as ``actual``."""
        published = self.slots["tier"] == PUBLISHED
        return pd.DataFrame(
            {
                "p10": self.slots["price_p10"],
                "p50": self.slots["price_eur_mwh"],
                "p90": self.slots["price_p90"],
                "actual": self.slots["price_eur_mwh"].where(published),
            }
        )

    @property
    def score_chart(self) -> pd.DataFrame:
        """The score with its band."""
        return pd.DataFrame(
            {
                "p10": self.hourly["score_p10"],
                "p50": self.hourly["score"],
                "p90": self.hourly["score_p90"],
            }
        )


def predict(ctx: RunContext, days: int = LONGEST_DAYS) -> PredictionOutcome:
    """Predict the hours that begin from ``ctx.as_of`` on, and store what was predicted.

    Raises
    ------
    BadInput
        If ``days`` is not 1 … 7.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"{days} days cannot be predicted.", next_step=f"Choose 1 … {LONGEST_DAYS}.")
    begin = -(-epoch(ctx.as_of) // HOUR_S) * HOUR_S
    index = to_index(np.arange(begin, begin + days * 24 * HOUR_S, HOUR_S, dtype=np.int64))
    history = histories.load(ctx, HISTORY_DAYS)
    hourly, slots, notes = _prices(ctx, history, index)
    air = air_ahead(
        ctx, history.hourly.loc[: pd.Timestamp(ctx.as_of), [TEMPERATURE, HUMIDITY]], index
    )
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, ctx.as_of)
    hourly = hourly.join(air.hourly)
    hourly = hourly.join(expected_of(hourly, air, band, ctx.as_of))
    hourly, learnt = served_scores(ctx, history, hourly)
    # Days on, a naive forecast may be the better one; of tomorrow, it means that
    # something is missing.
    fallen_back = (hourly["tier"] == UNAVAILABLE).any() or (hourly["tier"].iloc[:48] == NAIVE).any()
    price_series = f"{ctx.settings.tariff.price_basis}_eur_mwh"
    written = _store(ctx, hourly, slots, price_series)
    reviewed, drifts = _journal(ctx, price_series)
    told = tuple(f"{name}: {why}" for name, why in drifts.items())
    return PredictionOutcome(
        verdict=words.verdict(hourly, told),
        level="warn" if drifts or fallen_back else "ok",
        figures={**words.figures(hourly), "stored": written},
        notes=(*history.notes, *notes, *learnt, air.note, *words.unknown(band), *told),
        hourly=hourly,
        slots=slots,
        blocks=words.blocks(hourly, band),
        journal=reviewed,
        drifts=drifts,
    )


def _prices(
    ctx: RunContext, history: History, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Return prices by hour and in the market's own slots, and what is to be said of them."""
    basis = ctx.settings.tariff.price_basis
    found, note = champion(ctx, price_name(basis))
    wanted = found.exogenous_ if found else []
    if missing := [name for name in wanted if name not in history.operator]:
        found, note = (
            None,
            f"The price champion needs forecasts of {', '.join(missing)} that are not here.",
        )
    exogenous = {name: history.operator[name] for name in wanted if name not in missing}
    hourly = prices_ahead(history.hourly[PRICE], index, found, exogenous)
    names = {"p50": PRICE, "p10": "price_p10", "p90": "price_p90"}
    slots, step_s = (
        hourly.slots,
        ctx.catalogue[f"{basis}_eur_mwh"].resolution_at(index[-1].to_pydatetime()),
    )
    if step_s != HOUR_S:
        fine = pd.date_range(
            index[0],
            index[-1] + pd.Timedelta(hours=1),
            freq=f"{step_s}s",
            inclusive="left",
            unit="s",
        )
        slots = prices_ahead(
            histories.published_slots(ctx, history), fine, found, exogenous, step_s
        ).slots
    notes = hourly.notes if not note else (*hourly.notes, f"{note} The naive forecast stands in.")
    return hourly.slots.rename(columns=names), slots.rename(columns=names), notes


def expected_of(
    hourly: pd.DataFrame, air: AirAhead, band: PriceBand, issued_at: datetime
) -> pd.DataFrame:
    """Return score and recommendation to expect of each hour; see ``expectation.expect``.

    Errors of temperature and humidity are taken together, as past forecasts made them;
    those of the price apart, for the air of one town and the price of a country err for
    different reasons.
    """
    draw, parts = np.random.default_rng(0), []
    low, high = np.array([band.low_eur_kwh]), np.array([band.high_eur_kwh])
    for number, start in enumerate(pd.DatetimeIndex(hourly.index)):
        row = hourly.iloc[[number]]
        weather = errors_of(
            air.errors,
            start.hour,
            (start - pd.Timestamp(issued_at)).days,
            row["weather_source"].iloc[0],
        )
        weather = np.resize(weather, (max(len(weather), _LEAST_SPREAD_DRAWS), 2))
        price = draw.permutation(
            spread_of(
                row["price_p10"].iloc[0], row[PRICE].iloc[0], row["price_p90"].iloc[0], len(weather)
            )
        )
        parts.append(expect(row, np.column_stack([price, weather]), low, high))
    return pd.concat(parts)[list(COLUMNS)]


def spread_of(p10: float, p50: float, p90: float, count: int) -> Floats:
    """Return ``count`` equally likely departures from ``p50``: the halves of two normals that meet ``p10`` and ``p90``.

    A band that is unknown, or that of a published price, has no departures.
    """
    if not np.isfinite([p10, p50, p90]).all():
        return np.zeros(count)
    z = norm.ppf((np.arange(count) + 0.5) / count)
    departures: Floats = z * np.where(z < 0, p50 - p10, p90 - p50) / norm.ppf(0.9)
    return departures


def _store(ctx: RunContext, hourly: pd.DataFrame, slots: pd.DataFrame, price_series: str) -> int:
    """Store what was forecast, the price in the market's slots, and return how many rows were new.

    What was said today is not said again, and hourly means of quarters are aggregates,
    which are never stored.
    """
    places = ctx.settings.site.places
    forecast = slots[slots["tier"].isin([CHAMPION, NAIVE])]
    unknown = pd.Series(np.nan, index=hourly.index)
    said = [
        (
            price_series,
            places.prices,
            forecast[["price_p10", PRICE, "price_p90"]],
            forecast["tier"],
        ),
        *(
            (
                name,
                places.weather,
                pd.concat([unknown, hourly[name], unknown], axis=1),
                hourly["weather_source"],
            )
            for name in (TEMPERATURE, HUMIDITY)
        ),
        (SCORE_SERIES, places.weather, hourly[["score_p10", "score", "score_p90"]], hourly["tier"]),
    ]
    written = 0
    for name, trusted, values, tier in said:
        rows = values.set_axis(list(QUANTILES), axis=1).dropna(subset=["p50"]).astype("float64")
        steps = pd.DatetimeIndex(values.index).to_series().diff().dt.total_seconds().min()
        rows = rows.assign(
            series=name,
            place=trusted[0],
            model=OWN,
            issued_at=pd.Timestamp(ctx.as_of).floor("s"),
            target_start=rows.index,
            resolution_s=HOUR_S if np.isnan(steps) else int(steps),
            tier=tier.reindex(rows.index),
        )
        rows = rows[list(FORECAST_COLUMNS)].astype({"issued_at": UTC_S, "target_start": UTC_S})
        new = rows[~_already_said(ctx, rows, name)] if len(rows) else rows
        if len(new):
            written += ctx.store.write_forecasts(
                new.reset_index(drop=True), run_id=ctx.run_id
            ).written
    return written


def _already_said(ctx: RunContext, rows: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Mark the rows that the latest issue of this market day said already."""
    start, end = rows["target_start"].min(), rows["target_start"].max() + pd.Timedelta(seconds=1)
    last = ctx.store.read_forecasts(
        name,
        places=(str(rows["place"].iloc[0]),),
        start=start,
        end=end,
        as_of=ctx.as_of,
        models=(OWN,),
    )
    today = (last["issued_at"] >= day_start(market_day(ctx.as_of))) & last["resolution_s"].isin(
        rows["resolution_s"]
    )
    last = last[today].set_index("target_start")
    want, have = (
        rows.set_index("target_start")[[*QUANTILES]],
        last.reindex(rows["target_start"])[[*QUANTILES]],
    )
    same = np.isclose(want, have, rtol=0, atol=1e-6, equal_nan=True).all(axis=1)
    found: NDArray[np.bool_] = same & have["p50"].notna().to_numpy()
    return found


def _journal(ctx: RunContext, price_series: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return how past forecasts did, and for which of the house's own the last week is out of line."""
    parts, drifts = [], {}
    for name in (price_series, TEMPERATURE, HUMIDITY):
        found = verification.review(ctx, name)
        parts.append(found.by_lead.assign(series=name))
        own = found.rows[found.rows["model"] == OWN]
        if len(own) and (drift := verification.drift(own)):
            drifts[name] = drift
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else parts[0]
    return table[["series", *verification.COLUMNS]], drifts


def rule(
    ctx: RunContext, price_eur_mwh: float, temperature_c: float, humidity_pct: float
) -> dict[str, float | str]:
    """Return indices and class of one made-up hour, in the price band of ``ctx.as_of``: the rule, no prediction."""
    history = histories.load(ctx, indices.BAND_DAYS + 1)
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, ctx.as_of)
    eci = indices.energy_cost_index(
        price_eur_mwh * MWH_PER_KWH, band.low_eur_kwh, band.high_eur_kwh
    )
    tci, hsf = (
        indices.temperature_comfort_index(temperature_c),
        indices.humidity_stress_factor(humidity_pct),
    )
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    known = np.isfinite(cpi)
    return {
        "energy_cost_index": float(eci),
        "temperature_comfort_index": float(tci),
        "humidity_stress_factor": float(hsf),
        "heat_stress_factor": float(indices.heat_stress_factor(temperature_c, humidity_pct)),
        "chocolate_production_index": float(cpi),
        SCORE_SERIES: float(indices.energy_optimization_score(eci, tci)),
        "production_recommendation": str(indices.production_recommendation(cpi)[0])
        if known
        else "unknown",
    }
