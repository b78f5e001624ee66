"""The documented rule applied to one hypothetical hour, without any model."""

import numpy as np

from factory_lib.context import RunContext
from factory_lib.domain import indices
from factory_lib.features.horizon import MWH_PER_KWH, PRICE
from factory_lib.models.history import load_hours


def rule(
    ctx: RunContext, price_eur_mwh: float, temperature_c: float, humidity_pct: float
) -> dict[str, float | str]:
    """Return indices and class of one hypothetical hour by rule, in the price band of ``as_of``."""
    history = load_hours(ctx, indices.BAND_DAYS + 1)
    price_eur_kwh = price_eur_mwh * MWH_PER_KWH
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, ctx.as_of)
    eci = indices.energy_cost_index(price_eur_kwh, band.low_eur_kwh, band.high_eur_kwh)
    tci = indices.temperature_comfort_index(temperature_c)
    hsf = indices.humidity_stress_factor(humidity_pct)
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    recommendation = indices.outdoor_index_class(cpi)[0] if np.isfinite(cpi) else "unknown"
    return {
        "energy_cost_index": float(eci),
        "temperature_comfort_index": float(tci),
        "humidity_stress_factor": float(hsf),
        "heat_stress_factor": float(indices.heat_stress_factor(temperature_c, humidity_pct)),
        "chocolate_production_index": float(cpi),
        "energy_optimization_score": float(indices.energy_optimization_score(eci, tci)),
        "outdoor_index_class": str(recommendation),
    }
