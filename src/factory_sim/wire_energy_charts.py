"""Energy-Charts: the operators' day-ahead forecasts, one country and production type a call.

France comes in hours, the others in quarters; days are the country's own, both ends
inclusive.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from factory_lib.catalogue import DayAhead
from factory_lib.clock import HOUR_S, MADRID, QUARTER_S, epoch, from_epoch
from factory_lib.slots import expected
from factory_sim import SERIES
from factory_sim.exchange import Answer, Ask, Provider, as_html, as_json, number
from factory_sim.noise import Floats, Ints

PUBLISHED = time(10, 30)  # local wall time of the day before
_ZONES = {"es": MADRID, "fr": ZoneInfo("Europe/Paris"), "pt": ZoneInfo("Europe/Lisbon")}
_TYPES = {"load": "load", "solar": "solar", "wind_onshore": "wind", "wind_offshore": "wind"}
AT_SEA = 0.08  # share of the wind power of a country that has any at sea

QUIRKS = {
    "quarters": "every country in quarters",
    "nulls": "the last third of the values is null",
    "new_field": "a field that no client knows",
    "no_values": "404 without content",
}


def answer(ask: Ask) -> Answer:
    """Return what ``/public_power_forecast`` answers."""
    country = ask.get("country")
    kind = ask.get("production_type")
    quantity = _TYPES.get(kind)
    if ask.path != "/public_power_forecast" or country not in _ZONES or quantity is None:
        return as_json({"detail": [{"msg": "Input should be a known value"}]}, 422)
    if "no_values" in ask.quirks or (kind, country) == ("wind_offshore", "es"):
        return _nothing()
    try:
        first, last = (date.fromisoformat(ask.get(key)) for key in ("start", "end"))
    except ValueError:
        return as_json({"detail": [{"msg": "Invalid date"}]}, 422)
    zone = _ZONES[country]
    start = datetime.combine(first, time(), zone).astimezone(UTC)
    end = datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC)
    starts, values = _known(ask, f"{country}_{quantity}_forecast_mw", start, end)
    return _body(ask, *_as_published(ask, starts, values)) if len(starts) else _nothing()


def _as_published(ask: Ask, starts: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Return the part of a production type, in the steps of its country."""
    at_sea = ask.get("country") != "es"
    share = {"wind_offshore": AT_SEA, "wind_onshore": 1 - AT_SEA if at_sea else 1.0}
    values = values * share.get(ask.get("production_type"), 1.0)
    if ask.get("country") == "fr" and "quarters" not in ask.quirks:
        return starts, values
    return (starts[:, None] + np.arange(4) * QUARTER_S).ravel(), np.repeat(values, 4)


def _known(ask: Ask, name: str, start: datetime, end: datetime) -> tuple[Ints, Floats]:
    known_until = DayAhead(PUBLISHED).known_until(ask.now)
    entry = SERIES[name]
    starts = expected(entry, from_epoch(-(-epoch(start) // HOUR_S) * HOUR_S), min(end, known_until))
    starts = starts[ask.holes.delivered(ask.source, name, starts)]
    return starts, ask.world.forecast_mw(name, starts)


def _body(ask: Ask, starts: Ints, values: Floats) -> Answer:
    printed = [number(value) for value in np.round(values, 3).tolist()]
    kept = len(printed) * 2 // 3 if "nulls" in ask.quirks else len(printed)
    body = {
        "unix_seconds": starts.tolist(),
        "forecast_values": printed[:kept] + [None] * (len(printed) - kept),
        "production_type": ask.get("production_type"),
        "forecast_type": "day-ahead",
        "deprecated": False,
    }
    return as_json({**body, "licence": {"id": 7}} if "new_field" in ask.quirks else body)


def _nothing() -> Answer:
    return Answer(404, b"")


PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "too_many": (
            Answer(429, b'{"detail":"Too Many Requests"}', headers={"Retry-After": "30"}),
        ),
        "unauthorised": (as_html("401 Unauthorized", "", 401),),
    },
)
