"""Predictions in words: blocks of hours with a reason each, tiers, key figures, the verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES, PriceBand
from factory_lib.features.documented import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.models.price_forecast import CHAMPION, NAIVE, PUBLISHED, UNAVAILABLE


def blocks(hourly: pd.DataFrame, band: PriceBand) -> pd.DataFrame:
    """Join consecutive hours of a market day that have one recommendation, and give each such block its reason."""
    known = hourly.dropna(subset=["recommendation"])
    index = pd.DatetimeIndex(known.index)
    local_day = pd.Series(index.tz_convert(MADRID).date, index=index)
    changes = (known["recommendation"] != known["recommendation"].shift()) | (
        local_day != local_day.shift()
    )
    rows = []
    for _, block in known.groupby(changes.cumsum()):
        name = str(block["recommendation"].iloc[0])
        means = {
            column: float(block[column].mean())
            for column in (PRICE, TEMPERATURE, HUMIDITY, "score")
        }
        chance = float(block[f"p_{name}"].mean())
        head = {
            "start": block.index[0],
            "hours": len(block),
            "recommendation": name,
            "probability": chance,
        }
        rows.append({**head, **means, "reason": reason(block, band)})
    columns = [
        "start",
        "hours",
        "recommendation",
        "probability",
        PRICE,
        TEMPERATURE,
        HUMIDITY,
        "score",
        "reason",
    ]
    return pd.DataFrame(rows, columns=columns)


def reason(block: pd.DataFrame, band: PriceBand) -> str:
    """Say in one sentence what takes how many points from a mean score of 100, and what the recommendation hangs on.

    Price and air take what the rule says of the hours forecast; the errors that such
    forecasts make (or a champion's own view) do the rest. The parts add up to the
    score.

    Parameters
    ----------
    block : DataFrame
        Hours of one recommendation: price, temperature, humidity, ``score``,
        ``recommendation``.
    """
    eci = indices.energy_cost_index(
        block[PRICE] * MWH_PER_KWH, band.low_eur_kwh, band.high_eur_kwh
    ).mean()
    warmth = 100.0 - indices.temperature_comfort_index(block[TEMPERATURE]).mean()
    damp = indices.humidity_stress_factor(block[HUMIDITY]).mean()
    temperature_c, score = block[TEMPERATURE].mean(), round(block["score"].mean())
    by_price, both = (
        round(0.7 * eci),
        round(0.7 * eci + 0.3 * warmth),
    )  # rounded in sums, so that parts add up
    by_air, rest = both - by_price, 100 - score - both
    taken = {
        f"a price of {block[PRICE].mean():.0f} EUR/MWh takes {by_price}": by_price,
        f"outdoor air of {temperature_c:.0f} °C takes {by_air}": by_air,
        f"what forecasts miss {'takes' if rest > 0 else 'gives back'} {abs(rest)}": rest,
    }
    felt = [words for words, points in taken.items() if points]
    said = " and ".join(filter(None, [", ".join(felt[:-1]), *felt[-1:]])) or "nothing is taken"
    name = str(block["recommendation"].iloc[0])
    air = "warm air" if temperature_c > indices.COMFORT_C else "cold air"
    causes = {air: warmth, "the price": 0.5 * eci, "humidity": 0.3 * damp}
    because = (
        ""
        if name == CLASSES[0]
        else f"; {name} mostly because of {max(causes, key=lambda cause: causes[cause])}"
    )
    return f"Score {score} of 100: {said}{because}."


_TIERS = {
    PUBLISHED: "published",
    CHAMPION: "forecast by the champion",
    NAIVE: "by the naive forecast (a published day repeated)",
    UNAVAILABLE: "unavailable",
}


def tiers(hourly: pd.DataFrame) -> str:
    """Say in one sentence until when (local) the prices come from where."""
    tier = hourly["tier"]
    parts = []
    for _, run in tier.groupby((tier != tier.shift()).cumsum()):
        end = (pd.DatetimeIndex(run.index)[-1] + pd.Timedelta(hours=1)).tz_convert(MADRID)
        parts.append(f"{_TIERS[str(run.iloc[0])]} until {end:%a %d %b %H:%M}")
    return f"Prices: {', then '.join(parts)}."


def unknown(band: PriceBand) -> tuple[str, ...]:
    """Say why there is no score, where there is none."""
    if np.isfinite(band.low_eur_kwh):
        return ()
    return (
        f"Score and recommendation are unknown: {indices.BAND_MINIMUM_DAYS} days of prices are needed for them.",
    )


def figures(hourly: pd.DataFrame) -> dict[str, int | float | str]:
    """Return the key figures of the run record."""
    counts, next_day = hourly["tier"].value_counts(), hourly.iloc[:24]
    classes = hourly["recommendation"].value_counts()
    found: dict[str, int | float | str] = {"hours": len(hourly)}
    found |= {tier: int(counts.get(tier, 0)) for tier in (PUBLISHED, CHAMPION, NAIVE, UNAVAILABLE)}
    found |= {f"hours_{name.split()[0].lower()}": int(classes.get(name, 0)) for name in CLASSES}
    if next_day[PRICE].notna().any():
        found["price_next_24h_eur_mwh"] = round(float(next_day[PRICE].mean()), 2)
    return found


def verdict(hourly: pd.DataFrame, drifts: tuple[str, ...]) -> str:
    """Return one sentence for the top of the page."""
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
    return f"{'; '.join(words)}. {tiers(hourly)}" + (
        f" Drift: {' '.join(drifts)}" if drifts else ""
    )
