"""AEMET OpenData, the state weather service: hourly observations, daily climatology, forecasts.

Every request has two steps: an envelope with ``estado``, then the document at an
address that lives for minutes. Status 200 is no success here: a missing key is an empty
200, no data a 200 with ``estado`` 404. https://opendata.aemet.es
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from factory_lib.catalogue import Kind, Measurement
from factory_lib.clock import HOUR_S, MADRID, epoch
from factory_lib.errors import (
    AuthError,
    BadRange,
    NoDataYet,
    QuotaError,
    ServerError,
    SourceError,
)
from factory_lib.http import Reply
from factory_lib.sources.base import Interval, Source
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    comma_number,
    instant,
    longest_ascending,
    malformed,
    parse_json,
    require,
    require_ascending,
)

API = "/opendata/api"
# Series -> (field, whether it covers the hour before ``fint``); everything else is of
# the instant.
_OBSERVED: Mapping[str, tuple[str, bool]] = {
    "temperature_c": ("ta", False),
    "humidity_pct": ("hr", False),
    "precipitation_mm": ("prec", True),
    "pressure_station_hpa": ("pres", False),
    "pressure_sea_level_hpa": ("pres_nmar", False),
    "wind_speed_ms": ("vv", False),
}
# In lower case: the service's own metadata and its records disagree about capitals.
_DAILY: Mapping[str, str] = {
    "temperature_mean_c": "tmed",
    "temperature_max_c": "tmax",
    "temperature_min_c": "tmin",
    "humidity_mean_pct": "hrmedia",
    "humidity_max_pct": "hrmax",
    "humidity_min_pct": "hrmin",
    "precipitation_sum_mm": "prec",
    "wind_speed_mean_ms": "velmedia",
}
_FORECAST = {"temperature_c": "temperatura", "humidity_pct": "humedadRelativa"}
OBSERVATIONS_KEPT = timedelta(hours=24)
PAUSE_S = 60.0


class Aemet(Source):
    """Observations of the last day and climatology of the years before, of one station."""

    since = datetime(1920, 1, 1, tzinfo=UTC)
    place_pattern = r"[0-9A-Z]\d{3}[0-9A-Z]?"

    def available_window(self, series: str) -> Interval:
        """Return the last day for observations; climatology comes four days late."""
        if self.catalogue[series].measurement is not Measurement.WEATHER:
            return super().available_window(series)
        now = self.clock.now()
        return now - OBSERVATIONS_KEPT, now

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Interval]:
        """Split climatology at its range limit; observations come all at once."""
        if any(name in _OBSERVED for name in series):
            return [(start, end)]
        return super().windows(start, end, series)

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the last day's observations, or the climatology of the window."""
        if series[0] in _OBSERVED:
            reply = self._document(f"/observacion/convencional/datos/estacion/{place}")
            return parse_observations(reply, place, self.clock.now())
        last = end - timedelta(seconds=1)
        span = f"fechaini/{start:%Y-%m-%d}T00:00:00UTC/fechafin/{last:%Y-%m-%d}T23:59:59UTC"
        reply = self._document(f"/valores/climatologicos/diarios/datos/{span}/estacion/{place}")
        return parse_daily(reply, place, self.clock.now())

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the hourly forecast of the site's municipality, about 48 hours."""
        if not (code := self.settings.site.municipality):
            raise NoDataYet(self.name, "its forecasts need [site] municipality, an INE code")
        reply = self._document(f"/prediccion/especifica/municipio/horaria/{code}")
        return parse_hourly_forecast(reply, series, place, self.clock.now())

    def check_key(self) -> tuple[str, str]:
        """Ask for an envelope, and leave its document."""
        path = f"/observacion/convencional/datos/estacion/{next(iter(self.places()), 'todas')}"
        key = {"api_key": self.settings.secrets.aemet_api_key}
        with suppress(NoDataYet):
            self.http.get(API + path, secret_headers=key, check=classify_response)
        return "accepts the key", ""

    @malformed("aemet")
    def _document(self, path: str) -> Reply:
        key = {"api_key": self.settings.secrets.aemet_api_key}
        for _ in range(2):
            envelope = self.http.get(API + path, secret_headers=key, check=classify_response)
            address = require(parse_json(envelope), "datos", str)
            try:
                return self.http.get(address, check=partial(classify_response, document=True))
            except NoDataYet as gone:
                if gone.status != 404:
                    raise
        raise ServerError(self.name, "its documents are gone before they can be read", status=404)


def classify_response(reply: Reply, *, document: bool = False) -> SourceError | None:
    """Return the error that an envelope or document stands for."""
    if reply.status == 200 and not reply.content.strip():
        if document:
            return ServerError("aemet", "the document is empty", status=200)
        return AuthError(
            "aemet", "an empty answer, which is what it gives without a key", status=200
        )
    estado, description = _estado(reply)
    if document and "expirad" in description:
        # not "no data": the address has ended, and the envelope names another
        return NoDataYet("aemet", description, status=404)
    return _error_of(estado, description, reply)


def _error_of(estado: int, description: str, reply: Reply) -> SourceError | None:
    if estado == 401:
        return AuthError("aemet", description, status=reply.status)
    if estado == 429:
        return QuotaError(
            "aemet",
            description,
            status=reply.status,
            retry_after_s=reply.retry_after_s or PAUSE_S,
        )
    if estado == 404:
        return (BadRange if "rango" in description else NoDataYet)("aemet", description, status=200)
    return ServerError("aemet", description, status=reply.status) if estado >= 500 else None


def _estado(reply: Reply) -> tuple[int, str]:
    """Return ``estado`` and ``descripcion`` of an envelope; a document counts as 200."""
    try:
        body = parse_json(reply)
        return require(body, "estado", int), str(body.get("descripcion"))
    except ValueError:
        return 200, ""


@malformed("aemet")
def parse_observations(body: Reply | bytes | str, place: str, retrieved_at: datetime) -> Parsed:
    """Return the hourly observations of one station; absent keys are absent values.

    A record whose time cannot be, is out of order, or is that of another record with
    other values is rejected alone.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one.
    """
    records = _records(body, "idema", place)
    rows = RowCollector("aemet", place, Kind.OBSERVED, retrieved_at)
    by_end = _by_hour_end(records, rows, epoch(retrieved_at))
    if not by_end:
        raise ValueError("no record has a time that can be")
    for name, (field, covers_hour_before) in _OBSERVED.items():
        values = [
            rows.read(f"{name} {record['fint']}", record.get(field)) for record in by_end.values()
        ]
        rows.add(name, [end - HOUR_S * covers_hour_before for end in by_end], values, HOUR_S)
    return rows.parsed()


def _by_hour_end(
    records: Sequence[dict[str, Any]], rows: RowCollector, latest: int
) -> dict[int, dict[str, Any]]:
    """Return the records by the end of their hour, ascending; the others are rejected."""
    readable: list[tuple[int, dict[str, Any]]] = []
    for record in records:
        end = rows.read(f"record of {record.get('fint')}", record.get("fint"), _hour_end)
        if end > latest:
            rows.reject(f"record of {record['fint']}", "an hour still to come")
        elif not math.isnan(end):
            readable.append((int(end), record))
    return _one_by_hour(readable, rows)


def _one_by_hour(
    readable: Sequence[tuple[int, dict[str, Any]]], rows: RowCollector
) -> dict[int, dict[str, Any]]:
    """Return the records in order, one for each hour; strays and contradictions are rejected."""
    by_end: dict[int, list[dict[str, Any]]] = {}
    in_order = longest_ascending([end for end, _ in readable])
    for (end, record), is_in_order in zip(readable, in_order, strict=True):
        if is_in_order:
            by_end.setdefault(end, []).append(record)
        else:
            rows.reject(f"record of {record['fint']}", "out of the order of time")
    kept = {}
    for end, (first, *others) in by_end.items():
        if all(record == first for record in others):
            kept[end] = first
        else:
            rows.reject(f"records of {first['fint']}", "two of one hour that disagree")
    return kept


def _hour_end(text: Any) -> float:
    """Read ``fint``, with ``+0000`` since 2026 and without an offset before; it is always UTC."""
    at = instant(str(text))
    end = epoch(at.replace(tzinfo=UTC))
    if at.utcoffset() or end % HOUR_S:
        raise ValueError(f"{text!r} is no full hour of UTC")
    return end


def _records(body: Reply | bytes | str, key: str, place: str) -> list[dict[str, Any]]:
    """Return the records of a document, which must be of one station, with keys in lower case."""
    answer = parse_json(body)
    if not isinstance(answer, list):
        raise ValueError("the document is no list of records")
    if not answer:
        raise NoDataYet("aemet", f"no record of {place}")
    for record in answer:
        if require(record, key, str) != place:
            raise ValueError(f"a record of station {record[key]} came for {place}")
    return [dict(zip(map(str.lower, record), record.values(), strict=True)) for record in answer]


@malformed("aemet")
def parse_daily(body: Reply | bytes | str, place: str, retrieved_at: datetime) -> Parsed:
    """Return the daily climatology of one station, from text with decimal commas.

    Rain that was measured together with a later day (``Acum``) is absent and reported;
    the later day holds the total.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one, or dates are
        out of order or repeated.
    """
    records = _records(body, "indicativo", place)
    days = [_climate_day(str(record.get("fecha"))) for record in records]
    require_ascending([day.toordinal() for day in days])
    rows = RowCollector("aemet", place, Kind.OBSERVED, retrieved_at)
    for name, field in _DAILY.items():
        raw = [record.get(field) for record in records]
        reader = _rain if field == "prec" else _climate_number
        rows.add_days(name, dict(zip(days, raw, strict=True)), reader)
    return rows.parsed()


def _climate_day(text: str) -> date:
    """Read ``fecha``, which is sometimes a date and sometimes a datetime at midnight."""
    return date.fromisoformat(re.sub(r"[T ]00:00(:00)?(\.0+)?Z?$", "", text))


def _climate_number(text: Any) -> float:
    if text is None:
        return float("nan")
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text")
    return comma_number(text)


def _rain(text: Any) -> float:
    """Read a day's rain: ``Ip`` is less than 0.1 mm, ``Acum`` is in the figure of a later day."""
    if text == "Acum":
        raise ValueError("measured together with a later day (Acum)")
    return 0.0 if text == "Ip" else _climate_number(text)


@malformed("aemet")
def parse_hourly_forecast(
    body: Reply | bytes | str, series: Sequence[str], place: str, retrieved_at: datetime
) -> Parsed:
    """Return a municipal forecast with the instant it was made; its hours are local.

    Raises
    ------
    MalformedResponse
        If the structure is not the documented one.
    """
    answer = parse_json(body)
    if not isinstance(answer, list) or len(answer) != 1:
        raise ValueError("the document is no list of one forecast")
    days = require(require(answer[0], "prediccion", dict), "dia", list)
    dates = [_climate_day(require(day, "fecha", str)) for day in days]
    if dates != [dates[0] + timedelta(days=number) for number in range(len(dates))]:
        raise ValueError("its days do not follow each other")
    rows = RowCollector("aemet", place, Kind.OBSERVED, retrieved_at)
    made_at = datetime.fromisoformat(require(answer[0], "elaborado", str))
    for name in series:
        hours: dict[int, float] = {}
        for day, local in zip(days, dates, strict=True):
            _read_hours(require(day, _FORECAST[name], list), local, hours)
        require_ascending(list(hours))
        rows.add(name, hours, hours.values(), HOUR_S)
    return rows.parsed(made_at.replace(tzinfo=MADRID).astimezone(UTC))


def _read_hours(entries: list[Any], day: date, hours: dict[int, float]) -> None:
    """Add the hours of one local day; an empty value is of a period that is over."""
    midnight = datetime.combine(day, time(), MADRID)
    for entry in entries:
        hour = require(entry, "periodo", str)
        if text := require(entry, "value", str):
            wall = midnight.replace(hour=int(hour))
            start = epoch(wall)
            if start in hours:
                start = epoch(wall.replace(fold=1))  # the second 02 of the long day, else an error
            if start in hours:
                raise ValueError(f"two values of {day} {hour}:00")
            hours[start] = float(text)
