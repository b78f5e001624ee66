"""OpenWeatherMap: current weather, five-day forecast, and by subscription hours of the past.

A reading is taken at some odd second: it stands for the hour it was taken in. Rain is
that of the hour before; where there is none the key is absent, which is 0 mm. The past
needs One Call 3.0. https://openweathermap.org/current
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from factory_lib.catalogue import Kind
from factory_lib.clock import HOUR_S, epoch, from_epoch
from factory_lib.errors import AuthError, BadRange, NoDataYet, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import Interval, PointSource
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    malformed,
    number,
    parse_json,
    require,
    require_ascending,
    require_near,
)

HISTORY_SINCE = datetime(1979, 1, 1, tzinfo=UTC)
READING_LIVES_S = 1800  # it measures every ten minutes: an older reading is a frozen one
AHEAD_S = 300  # so far its clock may be ahead of ours
MEASURES_EVERY_S = 600
FORECAST_STEP_S = 3 * HOUR_S
_FORECAST = {"temperature_c": "temp", "humidity_pct": "humidity"}
NEAR_DEG = 0.5  # the answer's coordinates are those of what it has nearby
ONE_HOUR = timedelta(hours=1)


class OpenWeatherMap(PointSource):
    """The weather at the site's point, now; its past only where that is paid for."""

    def available_window(self, series: str) -> Interval:
        """Return the hour of the present reading, or with a subscription all before it."""
        hour = self._this_hour()
        past = self.limits.subscribed and series != "precipitation_mm"
        return HISTORY_SINCE if past else hour - ONE_HOUR, hour + ONE_HOUR

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Interval]:
        """Return the window whole, or with a subscription one per hour: there is one reading."""
        if not self.limits.subscribed:
            return [(start, end)]
        first = epoch(start) // HOUR_S * HOUR_S + HOUR_S
        hours = [from_epoch(second) for second in range(first, epoch(end), HOUR_S)]
        return list(pairwise([start, *hours, end]))

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the present reading, or the reading at the start of a past hour."""
        now = self.clock.now()
        if end > self._this_hour() - ONE_HOUR or not self.limits.subscribed:
            return parse_current(self._get("/data/2.5/weather", place), place, now)
        hour = epoch(start) // HOUR_S * HOUR_S
        reply = self._get("/data/3.0/onecall/timemachine", place, {"dt": str(hour)})
        return parse_history(reply, place, from_epoch(hour), now)

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the forecast of the next five days, every three hours."""
        return parse_forecast(
            self._get("/data/2.5/forecast", place), series, place, self.clock.now()
        )

    def check_key(self) -> tuple[str, str]:
        """Ask for the present reading."""
        self._get("/data/2.5/weather", self.places()[0])
        return "accepts the key", ""

    def _this_hour(self) -> datetime:
        return from_epoch(epoch(self.clock.now()) // HOUR_S * HOUR_S)

    def _get(self, path: str, place: str, more: Mapping[str, str] | None = None) -> Reply:
        latitude, longitude = place.split(",")
        query = {"lat": latitude, "lon": longitude, "units": "metric", **(more or {})}
        return self.http.get(
            path,
            query,
            secret_params={"appid": self.settings.secrets.openweathermap_api_key},
            check=classify_response,
        )


def classify_response(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for; a 401 may be about the plan and not about the key."""
    if reply.status == 401 and "separate subscription" in reply.text:
        return AuthError("openweathermap", "the key has no One Call subscription", status=401)
    if reply.status == 400:
        return BadRange("openweathermap", "the coordinates or the time were refused", status=400)
    return None


@malformed("openweathermap")
def parse_current(body: Reply | bytes, place: str, retrieved_at: datetime) -> Parsed:
    """Return the present reading.

    Raises
    ------
    NoDataYet
        If the reading is an old one.
    MalformedResponse
        If the structure or the place is not the requested one.
    """
    answer = parse_json(body)
    require_near(require(answer, "coord", dict), ("lat", "lon"), place, NEAR_DEG)
    if (code := str(answer.get("cod", 200))) != "200":
        raise ValueError(f"code {code}")
    taken_at = require(answer, "dt", int)
    if not -AHEAD_S <= epoch(retrieved_at) - taken_at <= READING_LIVES_S:
        raise NoDataYet("openweathermap", "its reading is not of this half hour")
    main = require(answer, "main", dict)
    wind = answer.get("wind")
    fallen = [kind for kind in ("rain", "snow") if kind in answer]
    reading = {
        "temperature_c": main.get("temp"),
        "humidity_pct": main.get("humidity"),
        "pressure_station_hpa": main.get("grnd_level"),
        "pressure_sea_level_hpa": main.get("sea_level", main.get("pressure")),
        "wind_speed_ms": wind.get("speed") if isinstance(wind, dict) else None,
        "precipitation_mm": sum(number(require(answer, kind, dict).get("1h")) for kind in fallen),
    }
    return _of_hour(reading, min(taken_at, epoch(retrieved_at)), place, retrieved_at)


@malformed("openweathermap")
def parse_history(
    body: Reply | bytes, place: str, hour: datetime, retrieved_at: datetime
) -> Parsed:
    """Return the reading at the start of one past hour; its rain is of the hour before.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is none, or the structure is not the documented one.
    """
    answer = parse_json(body)
    require_near(answer, ("lat", "lon"), place, NEAR_DEG)
    readings = require(answer, "data", list)
    if not readings:
        raise NoDataYet("openweathermap", "no reading of that hour")
    only = readings[0]
    if len(readings) > 1 or require(only, "dt", int) != epoch(hour):
        raise ValueError("not the one reading of the requested hour")
    reading = {
        "temperature_c": only.get("temp"),
        "humidity_pct": only.get("humidity"),
        "pressure_sea_level_hpa": only.get("pressure"),
        "wind_speed_ms": only.get("wind_speed"),
    }
    return _of_hour(reading, epoch(hour), place, retrieved_at)


def _of_hour(
    reading: Mapping[str, Any], taken_at: int, place: str, retrieved_at: datetime
) -> Parsed:
    rows = RowCollector("openweathermap", place, Kind.OBSERVED, retrieved_at)
    hour = taken_at // HOUR_S * HOUR_S
    # The rain of the hour before the reading: that of its own hour where this is all but over.
    rain_hour = hour if taken_at - hour >= HOUR_S - MEASURES_EVERY_S else hour - HOUR_S
    for name, raw in reading.items():
        value = rows.read(f"{name} {from_epoch(taken_at):%Y-%m-%dT%H:%MZ}", raw)
        rows.add(name, [rain_hour if name == "precipitation_mm" else hour], [value], HOUR_S)
    return rows.parsed()


@malformed("openweathermap")
def parse_forecast(
    body: Reply | bytes, series: Sequence[str], place: str, retrieved_at: datetime
) -> Parsed:
    """Return a five-day forecast; each entry may give its time twice.

    Raises
    ------
    MalformedResponse
        If the structure, a time or the place is not the documented and requested one.
    """
    answer = parse_json(body)
    point = require(require(answer, "city", dict), "coord", dict)
    require_near(point, ("lat", "lon"), place, NEAR_DEG)
    entries = require(answer, "list", list)
    starts = [require(entry, "dt", int) for entry in entries]
    require_ascending(starts)
    texts = [f"{from_epoch(start):%Y-%m-%d %H:%M:%S}" for start in starts]
    if texts != [entry.get("dt_txt", text) for entry, text in zip(entries, texts, strict=True)]:
        raise ValueError("a forecast gives two times")
    mains = [require(entry, "main", dict) for entry in entries]
    rows = RowCollector("openweathermap", place, Kind.OBSERVED, retrieved_at)
    for name in series:
        values = [number(main.get(_FORECAST[name])) for main in mains]
        rows.add(name, starts, values, FORECAST_STEP_S)
    return rows.parsed()
