"""AEMET OpenData, the state weather service: hourly observations, daily climatology, municipal forecast, inventory.

Every request has two steps: an envelope with ``estado``, then the document at an
address that lives for minutes. Status 200 is no success here: a missing key is an empty
200, no data a 200 with ``estado`` 404. https://opendata.aemet.es
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd

from factory_lib.catalogue import Kind, Measurement
from factory_lib.clock import HOUR_S, MADRID, epoch
from factory_lib.errors import (
    AuthError,
    BadRange,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    ServerError,
    SourceError,
)
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import Source, Window, utc_days
from factory_lib.sources.forecasts import forecast_rows
from factory_lib.sources.parsing import (
    Door,
    Parsed,
    add_days,
    at,
    comma_number,
    json_of,
    number,
    require_ascending,
)

API = "/opendata/api"
# Series -> (field, whether it covers the hour before ``fint``); everything else is of
# the instant.
OBSERVED: Mapping[str, tuple[str, bool]] = {
    "temperature_c": ("ta", False),
    "humidity_pct": ("hr", False),
    "precipitation_mm": ("prec", True),
    "pressure_station_hpa": ("pres", False),
    "pressure_sea_level_hpa": ("pres_nmar", False),
    "wind_speed_ms": ("vv", False),
}
# In lower case: the service's own metadata and its records disagree about capitals.
DAILY: Mapping[str, str] = {
    "temperature_mean_c": "tmed",
    "temperature_max_c": "tmax",
    "temperature_min_c": "tmin",
    "humidity_mean_pct": "hrmedia",
    "humidity_max_pct": "hrmax",
    "humidity_min_pct": "hrmin",
    "precipitation_sum_mm": "prec",
    "wind_speed_mean_ms": "velmedia",
}
FORECAST = {"temperature_c": "temperatura", "humidity_pct": "humedadRelativa"}
TRACE, WITH_A_LATER_DAY = "Ip", "Acum"
OBSERVATIONS_KEPT = timedelta(hours=24)
CLIMATOLOGY_SINCE = datetime(1920, 1, 1, tzinfo=UTC)
PAUSE_S = 60.0


class Aemet(Source):
    """Observations of the last day and climatology of the years before, of one station."""

    place_pattern = r"[0-9A-Z]\d{3}[0-9A-Z]?"

    def reach(self, series: str) -> Window:
        """Return the last day for observations; climatology comes four days late."""
        now = self.clock.now()
        entry = self.catalogue[series]
        if entry.measurement is Measurement.WEATHER:
            return now - OBSERVATIONS_KEPT, now
        return CLIMATOLOGY_SINCE, entry.publication[Kind.OBSERVED].known_until(now)

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Window]:
        """Split climatology at its range limit; observations come all at once."""
        if any(name in OBSERVED for name in series):
            return [(start, end)]
        return utc_days(start, end, self.limits.max_range_days)

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the last day's observations, or for the climatology of the window."""
        if series[0] in OBSERVED:
            reply = self._document(f"{API}/observacion/convencional/datos/estacion/{place}")
            return parse_observations(reply, place, self.clock.now(), source=self.name)
        last = end - timedelta(seconds=1)
        span = f"fechaini/{start:%Y-%m-%d}T00:00:00UTC/fechafin/{last:%Y-%m-%d}T23:59:59UTC"
        reply = self._document(
            f"{API}/valores/climatologicos/diarios/datos/{span}/estacion/{place}"
        )
        return parse_daily(reply, place, self.clock.now(), source=self.name)

    def forecast(self, series: Sequence[str], place: str | None = None) -> pd.DataFrame:
        """Return the hourly forecast of the site's municipality (about 48 hours) as forecast rows."""
        reply = self._document(
            f"{API}/prediccion/especifica/municipio/horaria/{self.settings.site.municipality}"
        )
        issued_at, columns = parse_hourly_forecast(reply, series, source=self.name)
        return forecast_rows(
            self.catalogue,
            columns,
            place=place or self.settings.site.grid_place,
            model=self.name,
            issued_at=min(issued_at, self.clock.now()),
        )

    def inventory(self) -> pd.DataFrame:
        """Return the climatological stations: place, name, province, latitude, longitude, altitude_m."""
        path = f"{API}/valores/climatologicos/inventarioestaciones/todasestaciones"
        return parse_inventory(self._document(path), source=self.name)

    def _document(self, path: str) -> Reply:
        key = {"api_key": self.settings.secrets.aemet_api_key}
        for _ in range(2):
            envelope = self.http.get(path, secret_headers=key, check=meaning)
            address = at(self.name, json_of(self.name, envelope), "datos", str)
            try:
                return self.http.get(address, check=lambda reply: meaning(reply, document=True))
            except NoDataYet as gone:
                if gone.status != 404:
                    raise
        raise ServerError(self.name, "its documents are gone before they can be read", status=404)


def meaning(reply: Reply, *, document: bool = False) -> SourceError | None:
    """Return the error that an envelope or document stands for."""
    if reply.status == 200 and not reply.content.strip():
        if document:
            return ServerError("aemet", "the document is empty", status=200)
        return AuthError(
            "aemet", "an empty answer, which is what it gives without a key", status=200
        )
    estado, said = _estado(reply)
    if estado == 200:
        return None
    if estado == 401:
        return AuthError("aemet", said, status=reply.status)
    if estado == 429:
        return QuotaError(
            "aemet", said, status=reply.status, retry_after_s=reply.retry_after_s or PAUSE_S
        )
    if estado == 404:
        return (BadRange if "rango" in said else NoDataYet)("aemet", said, status=200)
    return ServerError("aemet", said, status=reply.status) if estado >= 500 else None


def _estado(reply: Reply) -> tuple[int, str]:
    """Return ``estado`` and ``descripcion`` of an envelope; a document, or no JSON at all, counts as 200."""
    try:
        body = json.loads(reply.text)
    except (ValueError, RecursionError):
        return 200, ""
    estado = body.get("estado") if isinstance(body, dict) else None
    return (estado, str(body.get("descripcion"))) if isinstance(estado, int) else (200, "")


def key_expiry(key: Secret) -> datetime | None:
    """Return when the key (a JSON web token) expires; None if it names no end.

    Raises
    ------
    AuthError
        If it is no token.
    """
    parts = key.reveal().split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires = claims.get("exp")
        return None if expires is None else datetime.fromtimestamp(int(expires), UTC)
    except (
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        OSError,
        binascii.Error,
    ):
        raise AuthError("aemet", "the key is no token; copy it again from AEMET's mail") from None


def parse_observations(
    body: Reply | bytes | str, place: str, retrieved_at: datetime, *, source: str = "aemet"
) -> Parsed:
    """Return the hourly observations of one station; absent keys are absent values.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one.
    """
    door = Door(source, place, Kind.OBSERVED, retrieved_at)
    records = _records(json_of(source, body), "idema", place, source)
    ends = [epoch(_observed_at(at(source, record, "fint", str), source)) for record in records]
    require_ascending(source, ends)
    if any(end % HOUR_S for end in ends):
        raise MalformedResponse(source, "observations that do not end on the hour")
    if ends and ends[-1] > epoch(retrieved_at):
        raise MalformedResponse(source, "observations of hours still to come")
    for name, (field, covers_hour_before) in OBSERVED.items():
        values = [_read(door, name, record, field) for record in records]
        door.add(name, [end - HOUR_S * covers_hour_before for end in ends], values, HOUR_S)
    return door.parsed()


def _records(answer: Any, key: str, place: str, source: str) -> list[dict[str, Any]]:
    if not isinstance(answer, list):
        raise MalformedResponse(source, "the document is no list of records")
    if not answer:
        raise NoDataYet(source, f"no record of {place}")
    for record in answer:
        if at(source, record, key, str) != place:
            raise MalformedResponse(source, f"a record of station {record[key]} came for {place}")
    return answer


def _observed_at(text: str, source: str) -> datetime:
    """Read ``fint``, with ``+0000`` since 2026 and without any offset before; it always was UTC."""
    try:
        found = datetime.fromisoformat(text)
        if not found.utcoffset() and 1900 <= found.year <= 2200:
            return found.replace(tzinfo=UTC)
    except ValueError:
        pass
    raise MalformedResponse(source, f"{text!r} is no instant in UTC")


def _read(door: Door, name: str, record: Mapping[str, Any], field: str) -> float:
    try:
        return number(record.get(field))
    except ValueError as error:
        door.reject(f"{name} {record['fint']}", str(error))
        return float("nan")


def parse_daily(
    body: Reply | bytes | str, place: str, retrieved_at: datetime, *, source: str = "aemet"
) -> Parsed:
    """Return the daily climatology of one station, from text with decimal commas.

    Rain that was measured together with a later day (``Acum``) is absent and reported;
    the later day holds the total.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one.
    """
    records = _records(json_of(source, body), "indicativo", place, source)
    return daily_rows(records, place, retrieved_at, source=source)


def daily_rows(
    records: Sequence[Mapping[str, Any]],
    place: str,
    retrieved_at: datetime,
    *,
    source: str = "aemet",
) -> Parsed:
    """Return tidy rows of daily records with ``fecha`` and the service's field names, in any capitals.

    Raises
    ------
    MalformedResponse
        If a date cannot be read, or dates are out of order or repeated.
    """
    door = Door(source, place, Kind.OBSERVED, retrieved_at)
    days = [_climate_day(str(record.get("fecha")), source) for record in records]
    require_ascending(source, [day.toordinal() for day in days])
    lowered = [{key.lower(): value for key, value in record.items()} for record in records]
    for name, field in DAILY.items():
        read = _rain if field == "prec" else _climate_number
        add_days(
            door, name, {day: row.get(field) for day, row in zip(days, lowered, strict=True)}, read
        )
    return door.parsed()


def _climate_day(text: str, source: str) -> date:
    """Read ``fecha``, which is sometimes a date and sometimes a datetime at midnight."""
    try:
        return date.fromisoformat(re.sub(r"[T ]00:00(:00)?(\.0+)?Z?$", "", text))
    except ValueError:
        raise MalformedResponse(source, f"{text!r} is no date") from None


def _climate_number(text: Any) -> float:
    if text is None:
        return float("nan")
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text")
    return comma_number(text)


def _rain(text: Any) -> float:
    """Read a day's rain: ``Ip`` is less than 0.1 mm, ``Acum`` is in the figure of a later day."""
    if text == WITH_A_LATER_DAY:
        raise ValueError("measured together with a later day (Acum)")
    return 0.0 if text == TRACE else _climate_number(text)


def parse_hourly_forecast(
    body: Reply | bytes | str, series: Sequence[str], *, source: str = "aemet"
) -> tuple[datetime, dict[str, tuple[list[int], list[float]]]]:
    """Return when a municipal forecast was made (UTC), and starts and values per series; its hours are local.

    Raises
    ------
    MalformedResponse
        If the structure is not the documented one.
    """
    answer = json_of(source, body)
    if not isinstance(answer, list) or len(answer) != 1:
        raise MalformedResponse(source, "the document is no list of one forecast")
    try:
        issued_at = datetime.fromisoformat(at(source, answer[0], "elaborado", str)).replace(
            tzinfo=MADRID
        )
        days = at(source, at(source, answer[0], "prediccion", dict), "dia", list)
        columns = {name: _hours(days, FORECAST[name], source) for name in series}
    except ValueError as error:
        raise MalformedResponse(source, f"in the forecast: {error}") from None
    return issued_at.astimezone(UTC), columns


def _hours(days: Sequence[Any], field: str, source: str) -> tuple[list[int], list[float]]:
    starts: list[int] = []
    values: list[float] = []
    dates = [_climate_day(at(source, day, "fecha", str), source) for day in days]
    if dates != [dates[0] + timedelta(days=n) for n in range(len(dates))]:
        raise MalformedResponse(source, "its days do not follow each other")
    for day, local in zip(days, dates, strict=True):
        midnight = datetime.combine(local, time(), MADRID)
        for entry in at(source, day, field, list):
            hour, text = at(source, entry, "periodo", str), at(source, entry, "value", str)
            if not text:
                continue  # a period that is over
            wall = midnight.replace(hour=int(hour))
            again = (
                bool(starts) and epoch(wall) == starts[-1]
            )  # the second 02 of the long day, else an error
            start = epoch(wall.replace(fold=int(again)))
            starts.append(start)
            values.append(float(text))
    require_ascending(source, starts)
    return starts, values


def parse_inventory(body: Reply | bytes | str, *, source: str = "aemet") -> pd.DataFrame:
    """Return one row per station; coordinates are packed ``DDMMSS`` and a hemisphere.

    Raises
    ------
    MalformedResponse
        If the structure is not the documented one.
    """
    answer = json_of(source, body)
    if not isinstance(answer, list):
        raise MalformedResponse(source, "the inventory is no list")
    try:
        rows = [
            {
                "place": at(source, record, "indicativo", str),
                "name": at(source, record, "nombre", str),
                "province": at(source, record, "provincia", str),
                "latitude": _degrees(at(source, record, "latitud", str)),
                "longitude": _degrees(at(source, record, "longitud", str)),
                "altitude_m": float(at(source, record, "altitud", str)),
            }
            for record in answer
        ]
    except ValueError as error:
        raise MalformedResponse(source, f"in the inventory: {error}") from None
    return pd.DataFrame(rows)


def _degrees(packed: str) -> float:
    found = re.fullmatch(r"(\d{2,3})(\d{2})(\d{2})([NSEW])", packed)
    if not found:
        raise ValueError(f"{packed!r} is no packed coordinate")
    degrees = int(found[1]) + int(found[2]) / 60 + int(found[3]) / 3600
    return -degrees if found[4] in "SW" else degrees
