"""OpenWeatherMap: current weather, five-day forecast, and with a One Call 3.0 subscription single hours of the past.

A reading is taken at some odd second: it stands for the hour it was taken in. Rain is
that of the hour before; where there is none the key is absent, which is 0 mm.
https://openweathermap.org/current
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import HOUR_S, epoch, from_epoch
from factory_lib.errors import AuthError, BadRange, MalformedResponse, NoDataYet, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import PointSource, Window
from factory_lib.sources.forecasts import forecast_rows
from factory_lib.sources.parsing import (
    Door,
    Parsed,
    at,
    json_of,
    number,
    require_ascending,
    require_near,
)

CURRENT, FORECAST, HISTORY = (
    "/data/2.5/weather",
    "/data/2.5/forecast",
    "/data/3.0/onecall/timemachine",
)
HISTORY_SINCE = datetime(1979, 1, 1, tzinfo=UTC)
READING_LIVES_S = 1800  # it measures every ten minutes: an older reading is a frozen one
FORECAST_STEP_S = 3 * HOUR_S
NEAR_DEG = 0.5  # the answer's coordinates are those of what it has nearby


class OpenWeatherMap(PointSource):
    """The weather at the site's point, now; its past only where that is paid for."""

    def reach(self, series: str) -> Window:
        """Return the hour of the present reading, or with a subscription everything up to it."""
        this_hour = self._this_hour()
        past = self.limits.subscribed and series != "precipitation_mm"
        return HISTORY_SINCE if past else this_hour - timedelta(hours=1), this_hour + timedelta(
            hours=1
        )

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Window]:
        """Return the window whole, since there is only the present; with a subscription one per past hour."""
        if not self.limits.subscribed:
            return [(start, end)]
        edges = [
            start,
            *(
                from_epoch(at)
                for at in range(epoch(start) // HOUR_S * HOUR_S + HOUR_S, epoch(end), HOUR_S)
            ),
        ]
        return list(zip(edges, [*edges[1:], end], strict=True))

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the present reading, or for the reading at the start of a past hour."""
        now = self.clock.now()
        if end > self._this_hour() - timedelta(hours=1) or not self.limits.subscribed:
            return parse_current(self._get(CURRENT, place), place, now, source=self.name)
        hour = epoch(start) // HOUR_S * HOUR_S
        reply = self._get(HISTORY, place, {"dt": str(hour)})
        return parse_history(reply, place, from_epoch(hour), now, source=self.name)

    def forecast(self, series: Sequence[str], place: str | None = None) -> pd.DataFrame:
        """Return the forecast of the next five days, every three hours, as forecast rows."""
        point, now = place or self.settings.site.grid_place, self.clock.now()
        columns = parse_forecast(self._get(FORECAST, point), series, point, source=self.name)
        return forecast_rows(
            self.catalogue,
            columns,
            place=point,
            model=self.name,
            issued_at=now,
            resolution_s=FORECAST_STEP_S,
        )

    def _this_hour(self) -> datetime:
        return from_epoch(epoch(self.clock.now()) // HOUR_S * HOUR_S)

    def _get(self, path: str, place: str, more: Mapping[str, str] | None = None) -> Reply:
        latitude, longitude = place.split(",")
        query = {"lat": latitude, "lon": longitude, "units": "metric", **(more or {})}
        return self.http.get(
            path,
            query,
            secret_params={"appid": self.settings.secrets.openweathermap_api_key},
            check=meaning,
        )


def meaning(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for; a 401 may be about the plan and not about the key."""
    if reply.status == 401 and "separate subscription" in reply.text:
        return AuthError("openweathermap", "the key has no One Call subscription", status=401)
    if reply.status == 400:
        return BadRange("openweathermap", "the coordinates or the time were refused", status=400)
    return None


def parse_current(
    body: Reply | bytes, place: str, retrieved_at: datetime, *, source: str = "openweathermap"
) -> Parsed:
    """Return the present reading.

    Raises
    ------
    NoDataYet
        If the reading is an old one.
    MalformedResponse
        If the structure or the place is not the one asked for.
    """
    answer = json_of(source, body)
    require_near(source, at(source, answer, "coord", dict), ("lat", "lon"), place, NEAR_DEG)
    if str(answer.get("cod")) != "200":
        raise MalformedResponse(source, f"code {answer.get('cod')}")
    taken_at = at(source, answer, "dt", int)
    if not 0 <= epoch(retrieved_at) - taken_at <= READING_LIVES_S:
        raise NoDataYet(source, "its reading is not of this half hour")
    main, wind = at(source, answer, "main", dict), answer.get("wind")
    instant = {
        "temperature_c": main.get("temp"),
        "humidity_pct": main.get("humidity"),
        "pressure_station_hpa": main.get("grnd_level"),
        "pressure_sea_level_hpa": main.get("sea_level", main.get("pressure")),
        "wind_speed_ms": wind.get("speed") if isinstance(wind, dict) else None,
    }
    door = Door(source, place, Kind.OBSERVED, retrieved_at)
    _add(door, taken_at, {**instant, "precipitation_mm": _fallen(answer, source)})
    return door.parsed()


def parse_history(
    body: Reply | bytes,
    place: str,
    hour: datetime,
    retrieved_at: datetime,
    *,
    source: str = "openweathermap",
) -> Parsed:
    """Return the reading at the start of one past hour; its rain belongs to the hour before and is left to others.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is none, or the structure is not the documented one.
    """
    answer = json_of(source, body)
    require_near(source, answer, ("lat", "lon"), place, NEAR_DEG)
    readings = at(source, answer, "data", list)
    if not readings:
        raise NoDataYet(source, "no reading of that hour")
    reading = readings[0]
    if len(readings) > 1 or at(source, reading, "dt", int) != epoch(hour):
        raise MalformedResponse(source, "not the one reading of the hour that was asked for")
    instant = {
        "temperature_c": reading.get("temp"),
        "humidity_pct": reading.get("humidity"),
        "pressure_sea_level_hpa": reading.get("pressure"),
        "wind_speed_ms": reading.get("wind_speed"),
    }
    door = Door(source, place, Kind.OBSERVED, retrieved_at)
    _add(door, epoch(hour), instant)
    return door.parsed()


def parse_forecast(
    body: Reply | bytes, series: Sequence[str], place: str, *, source: str = "openweathermap"
) -> dict[str, tuple[list[int], list[float]]]:
    """Return starts and values per series of a five-day forecast; each entry tells its time twice.

    Raises
    ------
    MalformedResponse
        If the structure, a time or the place is not the one documented and asked for.
    """
    fields = {"temperature_c": "temp", "humidity_pct": "humidity"}
    answer = json_of(source, body)
    require_near(
        source,
        at(source, at(source, answer, "city", dict), "coord", dict),
        ("lat", "lon"),
        place,
        NEAR_DEG,
    )
    entries = at(source, answer, "list", list)
    starts = [at(source, entry, "dt", int) for entry in entries]
    try:
        require_ascending(source, starts)
        told = [f"{from_epoch(start):%Y-%m-%d %H:%M:%S}" for start in starts]
        if told != [at(source, entry, "dt_txt", str) for entry in entries]:
            raise MalformedResponse(source, "a forecast tells two times")
        return {
            name: (
                starts,
                [number(at(source, entry, "main", dict).get(fields[name])) for entry in entries],
            )
            for name in series
        }
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedResponse(source, f"in the forecast: {error}") from None


def _fallen(answer: dict[str, Any], source: str) -> float:
    """Return rain and snow of the hour before, mm."""
    total = 0.0
    for kind in ("rain", "snow"):
        if kind in answer:
            try:
                total += number(at(source, answer, kind, dict).get("1h"))
            except ValueError as error:
                raise MalformedResponse(source, f"{kind}: {error}") from None
    return total


def _add(door: Door, taken_at: int, values: Mapping[str, Any]) -> None:
    hour = taken_at // HOUR_S * HOUR_S
    for name, raw in values.items():
        try:
            value = number(raw)
        except ValueError as error:
            door.reject(f"{name} {from_epoch(taken_at):%Y-%m-%dT%H:%MZ}", str(error))
            continue
        door.add(name, [hour - HOUR_S * (name == "precipitation_mm")], [value], HOUR_S)
