"""The hours ahead: price, weather, score and recommendation with their probabilities, and the reason in words.

Every run stores what it says as forecasts of the model ``factory``, so that the journal can hold it to that later; a
forecast that says nothing new is issued once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from factory_lib.clock import HOUR_S, MADRID, day_start, epoch, market_day
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES, PriceBand
from factory_lib.errors import BadInput
from factory_lib.features.thirteen import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.house import House
from factory_lib.models import history as histories
from factory_lib.models import journal
from factory_lib.models.air_ahead import OWN, AirAhead, air_ahead, errors_of
from factory_lib.models.expectation import COLUMNS, Floats, expect
from factory_lib.models.price_ahead import CHAMPION, NAIVE, PUBLISHED, QUANTILES, UNAVAILABLE, prices_ahead
from factory_lib.slots import to_index

LONGEST_DAYS = 7
HISTORY_YEARS = 4
SCORE = "energy_optimization_score"
_LEAST_SPREAD_DRAWS = 120


@dataclass(frozen=True)
class PredictionOutcome:
    """What is to be expected, as its page and its run record tell it.

    Attributes
    ----------
    hourly : DataFrame
        UTC index: ``price_eur_mwh`` with ``price_p10`` and ``price_p90``, ``tier``, ``temperature_c``,
        ``humidity_pct``, ``weather_source``, and ``expectation.COLUMNS``.
    blocks : DataFrame
        Consecutive hours of a market day with one recommendation: ``start``, ``hours``, ``recommendation``,
        ``probability``, means of price, temperature and score, ``reason``.
    journal : DataFrame
        ``journal.COLUMNS`` after ``series``: past forecasts against what came, by lead in market days.
    notes : tuple of str
        Which tier serves which hours, and what else a reader has to know.
    """

    verdict: str
    level: str
    figures: dict[str, int | float | str]
    notes: tuple[str, ...]
    hourly: pd.DataFrame
    blocks: pd.DataFrame
    journal: pd.DataFrame

    @property
    def price_chart(self) -> pd.DataFrame:
        """The price with its band, and the published part as ``actual``."""
        published = self.hourly["tier"] == PUBLISHED
        return pd.DataFrame(
            {
                "p10": self.hourly["price_p10"],
                "p50": self.hourly["price_eur_mwh"],
                "p90": self.hourly["price_p90"],
                "actual": self.hourly["price_eur_mwh"].where(published),
            }
        )

    @property
    def score_chart(self) -> pd.DataFrame:
        """The score with its band."""
        return pd.DataFrame(
            {"p10": self.hourly["score_p10"], "p50": self.hourly["score"], "p90": self.hourly["score_p90"]}
        )


def predict(house: House, days: int = LONGEST_DAYS) -> PredictionOutcome:
    """Predict the hours that begin from ``house.as_of`` on, and store what was predicted.

    Raises
    ------
    BadInput
        If ``days`` is not 1 … 7.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"{days} days cannot be predicted.", next_step=f"Choose 1 … {LONGEST_DAYS}.")
    begin = -(-epoch(house.as_of) // HOUR_S) * HOUR_S
    index = to_index(np.arange(begin, begin + days * 24 * HOUR_S, HOUR_S, dtype=np.int64))
    # From a 1 January on, so that the history, and with it a fitted model, stays the same from one day to the next.
    first = date(market_day(house.as_of).year - HISTORY_YEARS, 1, 1)
    history = histories.load(house, (market_day(house.as_of) - first).days)
    basis = house.settings.tariff.price_basis
    prices = prices_ahead(history.hourly[PRICE], index, house.settings.paths.data / "models", basis)
    observed = history.hourly.loc[: pd.Timestamp(house.as_of), [TEMPERATURE, HUMIDITY]]
    air = air_ahead(house, observed, index)
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, house.as_of)
    hourly = prices.hourly.rename(columns={"p50": PRICE, "p10": "price_p10", "p90": "price_p90"}).join(air.hourly)
    hourly = hourly.join(expected_of(hourly, air, band, house.as_of))
    # Days on, a naive forecast may be the better one; of tomorrow, it means that something is missing.
    fallen_back = (hourly["tier"] == UNAVAILABLE).any() or (hourly["tier"].iloc[:48] == NAIVE).any()
    written = _store(house, hourly, f"{basis}_eur_mwh")
    reviewed, drifts = _journal(house, f"{basis}_eur_mwh")
    figures = {**_figures(hourly), "stored": written, "fitted": int(prices.fitted)}
    if prices.rmae:
        figures["price_rmae_best"] = round(prices.rmae[1], 4)
    return PredictionOutcome(
        verdict=_verdict(hourly, drifts),
        level="warn" if drifts or fallen_back else "ok",
        figures=figures,
        notes=(*history.notes, *_tiers(hourly), *prices.notes, air.note, *_unknown(band), *drifts),
        hourly=hourly,
        blocks=blocks(hourly, band),
        journal=reviewed,
    )


def expected_of(hourly: pd.DataFrame, air: AirAhead, band: PriceBand, issued_at: datetime) -> pd.DataFrame:
    """Return score and recommendation to expect of each hour; see ``expectation.expect``.

    Errors of temperature and humidity are taken together, as past forecasts made them; those of the price apart, for
    the air of one town and the price of a country err for different reasons.
    """
    draw, parts = np.random.default_rng(0), []
    low, high = np.array([band.low_eur_kwh]), np.array([band.high_eur_kwh])
    for number, start in enumerate(pd.DatetimeIndex(hourly.index)):
        row = hourly.iloc[[number]]
        weather = errors_of(
            air.errors, start.hour, (start - pd.Timestamp(issued_at)).days, row["weather_source"].iloc[0]
        )
        weather = np.resize(weather, (max(len(weather), _LEAST_SPREAD_DRAWS), 2))
        price = draw.permutation(
            spread_of(row["price_p10"].iloc[0], row[PRICE].iloc[0], row["price_p90"].iloc[0], len(weather))
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


def blocks(hourly: pd.DataFrame, band: PriceBand) -> pd.DataFrame:
    """Join consecutive hours of a market day that have one recommendation, and give each such block its reason."""
    known = hourly.dropna(subset=["recommendation"])
    index = pd.DatetimeIndex(known.index)
    local_day = pd.Series(index.tz_convert(MADRID).date, index=index)
    changes = (known["recommendation"] != known["recommendation"].shift()) | (local_day != local_day.shift())
    rows = []
    for _, block in known.groupby(changes.cumsum()):
        name = str(block["recommendation"].iloc[0])
        means = {column: float(block[column].mean()) for column in (PRICE, TEMPERATURE, HUMIDITY, "score")}
        chance = float(block[f"p_{name}"].mean())
        head = {"start": block.index[0], "hours": len(block), "recommendation": name, "probability": chance}
        rows.append({**head, **means, "reason": reason(means[PRICE], means[TEMPERATURE], means[HUMIDITY], band)})
    columns = ["start", "hours", "recommendation", "probability", PRICE, TEMPERATURE, HUMIDITY, "score", "reason"]
    return pd.DataFrame(rows, columns=columns)


def reason(price_eur_mwh: float, temperature_c: float, humidity_pct: float, band: PriceBand) -> str:
    """Say in one sentence what takes how many of the production index's hundred points."""
    eci = indices.energy_cost_index(price_eur_mwh * MWH_PER_KWH, band.low_eur_kwh, band.high_eur_kwh)
    taken = {
        f"outdoor air of {temperature_c:.0f} °C": 100.0 - float(indices.temperature_comfort_index(temperature_c)),
        f"a price of {price_eur_mwh:.0f} EUR/MWh": 0.5 * float(eci),
        f"{humidity_pct:.0f} % humidity": 0.3 * float(indices.humidity_stress_factor(humidity_pct)),
    }
    felt = sorted(((points, what) for what, points in taken.items() if points >= 1), reverse=True)
    if not felt:
        return "Mild air and cheap energy: nothing takes from the hundred points."
    words = [f"{what} takes {points:.0f}" for points, what in felt]
    said = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"Of a hundred points, {said}."


def _store(house: House, hourly: pd.DataFrame, price_series: str) -> int:
    """Store the forecasts among the hours and return how many were new; what was said today is not said again."""
    places = house.settings.site.places
    forecast = hourly["tier"].isin([CHAMPION, NAIVE])
    unknown = pd.Series(np.nan, index=hourly.index)
    said = [
        (price_series, places.prices, hourly[["price_p10", PRICE, "price_p90"]][forecast], hourly["tier"]),
        *(
            (name, places.weather, pd.concat([unknown, hourly[name], unknown], axis=1), hourly["weather_source"])
            for name in (TEMPERATURE, HUMIDITY)
        ),
        (SCORE, places.weather, hourly[["score_p10", "score", "score_p90"]], hourly["tier"]),
    ]
    written = 0
    for name, trusted, values, tier in said:
        rows = values.set_axis(list(QUANTILES), axis=1).dropna(subset=["p50"]).astype("float64")
        rows = rows.assign(
            series=name, place=trusted[0], model=OWN, issued_at=pd.Timestamp(house.as_of).floor("s"),
            target_start=rows.index, resolution_s=HOUR_S, tier=tier.reindex(rows.index),
        )  # fmt: skip
        rows = rows[list(FORECAST_COLUMNS)].astype({"issued_at": UTC_S, "target_start": UTC_S})
        new = rows[~_already_said(house, rows, name)] if len(rows) else rows
        if len(new):
            written += house.store.write_forecasts(new.reset_index(drop=True), run_id=house.run_id).written
    return written


def _already_said(house: House, rows: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Mark the rows that the latest issue of this market day said already."""
    start, end = rows["target_start"].min(), rows["target_start"].max() + pd.Timedelta(seconds=1)
    last = house.store.read_forecasts(
        name, places=(str(rows["place"].iloc[0]),), start=start, end=end, as_of=house.as_of, models=(OWN,)
    )
    last = last[last["issued_at"] >= day_start(market_day(house.as_of))].set_index("target_start")
    want, have = rows.set_index("target_start")[[*QUANTILES]], last.reindex(rows["target_start"])[[*QUANTILES]]
    same = np.isclose(want, have, rtol=0, atol=1e-6, equal_nan=True).all(axis=1)
    found: NDArray[np.bool_] = same & have["p50"].notna().to_numpy()
    return found


def _journal(house: House, price_series: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return how past forecasts did, and for which of the house's own the last week is out of line."""
    parts, drifts = [], []
    for name in (price_series, TEMPERATURE, HUMIDITY):
        found = journal.review(house, name)
        parts.append(found.by_lead.assign(series=name))
        own = found.rows[found.rows["model"] == OWN]
        if len(own) and (drift := journal.drift(own)):
            drifts.append(f"{name}: {drift}")
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else parts[0]
    return table[["series", *journal.COLUMNS]], tuple(drifts)


def _tiers(hourly: pd.DataFrame) -> list[str]:
    words = {
        PUBLISHED: "is published",
        CHAMPION: "is the forecaster's (champion), from prices alone",
        NAIVE: "is a naive forecast: a published day repeated",
        UNAVAILABLE: "is unavailable",
    }
    counts = hourly["tier"].value_counts()
    return [f"The price of {counts[tier]} hours {said}." for tier, said in words.items() if counts.get(tier, 0)]


def _unknown(band: PriceBand) -> tuple[str, ...]:
    if np.isfinite(band.low_eur_kwh):
        return ()
    return (f"Score and recommendation are unknown: {indices.BAND_MINIMUM_DAYS} days of prices are needed for them.",)


def _figures(hourly: pd.DataFrame) -> dict[str, int | float | str]:
    counts, next_day = hourly["tier"].value_counts(), hourly.iloc[:24]
    classes = hourly["recommendation"].value_counts()
    figures: dict[str, int | float | str] = {"hours": len(hourly)}
    figures |= {tier: int(counts.get(tier, 0)) for tier in (PUBLISHED, CHAMPION, NAIVE, UNAVAILABLE)}
    figures |= {f"hours_{name.split()[0].lower()}": int(classes.get(name, 0)) for name in CLASSES}
    if next_day[PRICE].notna().any():
        figures["price_next_24h_eur_mwh"] = round(float(next_day[PRICE].mean()), 2)
    return figures


def _verdict(hourly: pd.DataFrame, drifts: tuple[str, ...]) -> str:
    next_day = hourly.iloc[:24]
    if next_day[PRICE].isna().all():
        return "The price of the next 24 hours is unavailable: no recent day of prices is stored."
    cheapest = pd.Timestamp(str(next_day[PRICE].idxmin())).tz_convert(MADRID)
    words = [
        f"Next 24 hours: {next_day[PRICE].mean():.0f} EUR/MWh in the mean, cheapest at {cheapest:%A %H:%M} "
        f"({next_day[PRICE].min():.0f})"
    ]
    if next_day["recommendation"].notna().any():
        counts = next_day["recommendation"].value_counts()
        told = [f"{counts[name]} h {name}" for name in CLASSES if counts.get(name, 0)]
        words.append(f"outdoor index {', '.join(told)}")
    published = int((next_day["tier"] == PUBLISHED).sum())
    last = hourly["tier"].iloc[-1]
    words.append(f"{published} of 24 prices published, the last of {len(hourly)} hours: {last}")
    return "; ".join(words) + "." + (f" Drift: {' '.join(drifts)}" if drifts else "")


def rule(house: House, price_eur_mwh: float, temperature_c: float, humidity_pct: float) -> dict[str, float | str]:
    """Return indices and class of one made-up hour, in the price band of ``house.as_of``: the rule, no prediction."""
    history = histories.load(house, indices.BAND_DAYS + 1)
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, house.as_of)
    eci = indices.energy_cost_index(price_eur_mwh * MWH_PER_KWH, band.low_eur_kwh, band.high_eur_kwh)
    tci, hsf = indices.temperature_comfort_index(temperature_c), indices.humidity_stress_factor(humidity_pct)
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    known = np.isfinite(cpi)
    return {
        "energy_cost_index": float(eci),
        "temperature_comfort_index": float(tci),
        "humidity_stress_factor": float(hsf),
        "heat_stress_factor": float(indices.heat_stress_factor(temperature_c, humidity_pct)),
        "chocolate_production_index": float(cpi),
        SCORE: float(indices.energy_optimization_score(eci, tci)),
        "production_recommendation": str(indices.production_recommendation(cpi)[0]) if known else "unknown",
    }
