"""Load, wind and solar power of Spain two to seven days ahead, from weather forecasts.

The operator forecasts tomorrow; weather is forecast for a week. Wind power follows the
wind at 100 m where Spain has wind turbines, solar power the radiation where it has solar
panels: by curves fitted to the operator's own day-ahead forecasts and the weather as
forecast then, over the last weeks, because installed power grows. The load is the
operator's forecast of the week, else that of the same weekday a week before.
"""

from collections.abc import Hashable, Iterator, Mapping

import numpy as np
import pandas as pd

from factory_lib.features.days import DayMatrix, Matrix, day_matrix, lag
from factory_lib.features.prices import RESIDUAL_LOAD, ahead_name

WIND_SPEED = "wind_speed_100m_ms"
RADIATION = "solar_radiation_wm2"
FIT_DAYS = 90
LEAST_FIT_HOURS = 14 * 24
# Quantity -> scale and powers of its curve: a turbine's output rises with the cube of
# the wind and levels off; panels lose a little in strong sun.
CURVES = {WIND_SPEED: (10.0, (0, 1, 2, 3)), RADIATION: (500.0, (1, 2))}
_RIDGE = 1e-3  # against a curve that few hours bend


def system_ahead(
    day_ahead: pd.DataFrame,
    weather_then: Mapping[Hashable, pd.Series],
    ahead: Mapping[Hashable, pd.Series],
    lead: int,
) -> dict[str, DayMatrix]:
    """Return load, wind and residual load (MW) of each target day, as known before.

    Parameters
    ----------
    day_ahead : DataFrame
        Hourly UTC index; ``load_mw``, ``wind_mw``, ``solar_mw`` as forecast by noon of the
        day before.
    weather_then : mapping of str to Series
        ``WIND_SPEED`` and ``RADIATION`` as forecast by then, UTC index.
    ahead : mapping of str to Series
        The same as forecast by noon ``lead`` days before, and ``load_mw`` where it was.

    Returns
    -------
    dict of str to DayMatrix
        By ``features.prices.ahead_name``; NaN where the weather is unknown, empty
        without any.
    """
    if any(ahead[name].dropna().empty for name in CURVES):
        return {}
    present, learnt, coming = _aligned(dict(day_ahead.items()), weather_then, ahead)
    wind, sun = (
        _power(present[name].grid, learnt[of].grid, coming[of].grid, CURVES[of], lead)
        for name, of in (("wind_mw", WIND_SPEED), ("solar_mw", RADIATION))
    )
    load = lag(present["load_mw"].grid, 7)
    if "load_mw" in coming:
        of_operator = coming["load_mw"].grid
        load = np.where(np.isfinite(of_operator), of_operator, load)
    made = {RESIDUAL_LOAD: load - wind - sun, "load_mw": load, "wind_mw": wind}
    every = present["load_mw"].days
    return {ahead_name(name, lead): DayMatrix(every, grid) for name, grid in made.items()}


def _aligned(*tables: Mapping[Hashable, pd.Series]) -> Iterator[dict[str, DayMatrix]]:
    """Yield each table's series by day, on the days of all of them; unknown ones are left out."""
    matrices: list[dict[str, DayMatrix]] = []
    for table in tables:
        filled = {name: part for name, part in table.items() if part.notna().any()}
        matrices.append({str(name): day_matrix(part) for name, part in filled.items()})
    parts = [matrix.days for table in matrices for matrix in table.values()]
    days = np.concatenate(parts)
    for by_day in matrices:
        yield {name: matrix.spanning(days.min(), days.max()) for name, matrix in by_day.items()}


def _power(
    mw: Matrix, then: Matrix, ahead: Matrix, curve: tuple[float, tuple[int, ...]], lead: int
) -> Matrix:
    """Return the power at the weather ahead, by the curve of the days known at each issue."""
    scale, exponents = curve
    powers = np.array(exponents)
    present = np.isfinite(mw + then)
    x = np.where(present, then, 0.0)[:, :, None] / scale
    x = np.where(present[:, :, None], x**powers, 0.0)
    y = np.where(present, mw, 0.0)
    size = len(powers)
    sums = np.column_stack(
        [
            np.einsum("dhi,dhj->dij", x, x).reshape(len(y), -1),
            np.einsum("dhi,dh->di", x, y),
            present.sum(axis=1),
        ]
    )
    # the day-ahead forecasts of the day after the issue are known, too
    trailing = pd.DataFrame(sums).rolling(FIT_DAYS, min_periods=1).sum().shift(lead - 1)
    table = trailing.fillna(0.0).to_numpy()
    squares = table[:, : size * size].reshape(-1, size, size) + _RIDGE * np.eye(size)
    coefficients = np.linalg.solve(squares, table[:, size * size : -1, None])[:, :, 0]
    coefficients[table[:, -1] < LEAST_FIT_HOURS] = np.nan
    made = np.einsum("dhi,di->dh", (ahead[:, :, None] / scale) ** powers, coefficients)
    return np.asarray(np.maximum(made, 0.0))
