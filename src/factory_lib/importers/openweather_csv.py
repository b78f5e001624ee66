"""OpenWeather's history of cities: hourly, local offsets, kelvin, one line per *weather condition* of an hour."""

from __future__ import annotations

from factory_lib.clock import HOUR_S
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Lines, Reading

ZERO_CELSIUS_K = 273.15
_PLACES = {"Seville": "Sevilla"}  # the name the site knows the city by
_COLUMNS = {
    "humidity": "humidity_pct",
    "wind_speed": "wind_speed_ms",
    "rain_1h": "precipitation_mm",
}
_NOTES = (
    "Pressure was left out: the column holds station and sea-level values (Madrid: 967 hPa in early 2015, then 1017).",
    "rain_1h comes in classes (0.3, 0.9, 3.0 mm), not as measured amounts.",
)


def read(member: Member) -> Reading:
    """Read ``dt_iso,city_name,temp,…``; each city is a place of its own."""
    lines = Lines(member, ["dt_iso", "city_name", "temp", *_COLUMNS])
    values = {"temperature_c": (lines.numbers("temp") - ZERO_CELSIUS_K).round(3)}
    values |= {series: lines.numbers(name) for name, series in _COLUMNS.items()}
    return lines.reading(
        lines.instants("dt_iso"),
        values,
        place=lines.text["city_name"].str.strip().replace(_PLACES),
        source="openweathermap",
        resolution_s=HOUR_S,
        notes=_NOTES,
        sums_before=("precipitation_mm",),
    )
