"""SIAR, the ministry's network of farm weather stations: daily climate by its REST API.

Version 2 (https://servicio.mapa.gob.es/siarapi): every functional refusal is a 403,
distinguished by its text.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from factory_lib.catalogue import Kind
from factory_lib.errors import (
    AuthError,
    BadRange,
    NoDataYet,
    QuotaError,
    SourceError,
)
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import Interval, Source
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    instant,
    malformed,
    parse_json,
    require,
)

_FIELDS: Mapping[str, str] = {
    "temperature_mean_c": "TempMedia",
    "temperature_max_c": "TempMax",
    "temperature_min_c": "TempMin",
    "humidity_mean_pct": "HumedadMedia",
    "humidity_max_pct": "HumedadMax",
    "humidity_min_pct": "HumedadMin",
    "precipitation_sum_mm": "Precipitacion",
    "wind_speed_mean_ms": "VelViento",
    "solar_radiation_mj_m2": "Radiacion",
}
STATION = re.compile(r"[A-Z]{1,2}\d{2,4}")
API = "/siarapi/API/V1"
TOKEN_LIFE = timedelta(minutes=50)
PAUSE_S = 65.0


class Siar(Source):
    """Daily climate of one station by the REST API."""

    place_pattern = STATION.pattern
    _token: tuple[Secret, datetime] | None = None

    def available_window(self, series: str) -> Interval:
        """Return the past year: an ordinary token sees no further back."""
        now = self.clock.now()
        return now - timedelta(days=365), now

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the days of the window."""
        last = end - timedelta(seconds=1)
        query: dict[str, str | list[str]] = {
            "Id": place,
            "FechaInicial": f"{start:%Y-%m-%d}",
            "FechaFinal": f"{last:%Y-%m-%d}",
        }
        reply = self.http.get(
            f"{API}/Datos/Diarios/ESTACION",
            query,
            {"Accept": "application/json"},
            secret_params={"token": self._valid_token()},
            check=self._classify,
        )
        return parse_api(reply, place, self.clock.now())

    def check_key(self) -> tuple[str, str]:
        """Ask for the list of stations, which has no records; look for the site's own there."""
        reply = self.http.get(
            f"{API}/Info/ESTACIONES",
            headers={"Accept": "application/json"},
            secret_params={"token": self._valid_token()},
            check=self._classify,
        )
        return _report_stations(self.places(), parse_stations(reply))

    def _valid_token(self) -> Secret:
        """Return this session's token, renewed before it expires."""
        now = self.clock.now()
        if self._token is None or self._token[1] <= now:
            secrets = self.settings.secrets
            user = self._text("cifrarCadena", cadena=secrets.siar_user)
            password = self._text("cifrarCadena", cadena=secrets.siar_password)
            token = self._text("obtenerToken", Usuario=user, Password=password)
            self._token = token, now + TOKEN_LIFE
        return self._token[0]

    def _text(self, step: str, **params: Secret) -> Secret:
        """Return the answer of one step of the authentication."""
        reply = self.http.get(
            f"{API}/Autenticacion/{step}", secret_params=params, check=self._classify
        )
        return Secret(reply.text.strip().strip('"'))

    def _classify(self, reply: Reply) -> SourceError | None:
        error = classify_response(reply, self.clock.now())
        if isinstance(error, AuthError):
            self._token = None
        return error


def classify_response(reply: Reply, now: datetime) -> SourceError | None:
    """Return the error a reply stands for: the text of a 403 tells quota, range and key apart."""
    if reply.status != 403 or reply.is_html:
        return None
    text = _message(reply).lower()
    if "fecha mínima" in text or "fecha minima" in text:
        return BadRange("siar", "the token sees no further back than about a year", status=403)
    if "en un día" in text or "en un dia" in text:
        tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        pause_s = (tomorrow - now).total_seconds()
        return QuotaError("siar", "the day's quota is used up", status=403, retry_after_s=pause_s)
    if "minuto" in text:
        return QuotaError(
            "siar", "the minute's quota is used up", status=403, retry_after_s=PAUSE_S
        )
    return AuthError("siar", "the token was refused", status=403)


def _message(reply: Reply) -> str:
    try:
        return require(parse_json(reply), "MensajeRespuesta", str)
    except ValueError:
        return reply.text


@malformed("siar")
def parse_api(body: Reply | bytes, place: str, retrieved_at: datetime) -> Parsed:
    """Return the daily records of one station.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one.
    """
    answer = parse_json(body)
    if isinstance(answer, dict) and answer.get("MensajeRespuesta"):
        raise ValueError(f"it says {str(answer['MensajeRespuesta'])!r}")
    days: dict[date, dict[str, Any]] = {}
    for record in require(answer, "datos", list):
        day = _record_day(require(record, "Fecha", str))
        _require_station(record, place)
        if day in days:
            raise ValueError(f"two records of {day}")
        # Capitals differ from the service's own manual: humedadMin.
        days[day] = {key.lower(): value for key, value in record.items()}
    if not days:
        raise NoDataYet("siar", "no record")
    rows = RowCollector("siar", place, Kind.OBSERVED, retrieved_at)
    for name, field in _FIELDS.items():
        rows.add_days(name, {day: record.get(field.lower()) for day, record in days.items()})
    return rows.parsed()


@malformed("siar")
def parse_stations(body: Reply | bytes) -> dict[str, str]:
    """Return by station that it is closed, and since when, or an empty text."""
    stations = require(parse_json(body), "datos", list)
    return {
        require(station, "Codigo", str): f"closed {end[:10]}" if end else ""
        for station in stations
        for end in [str(station.get("Fecha_Baja") or "")]
    }


def _report_stations(places: Sequence[str], closed: Mapping[str, str]) -> tuple[str, str]:
    """Return which of the site's stations are open, and others of the province if none is."""
    states = {place: closed.get(place, "unknown to it") for place in places}
    words = [f"{place} {state or 'open'}" for place, state in states.items()]
    finding = ", ".join(["accepts user and password", *words])
    if "" in states.values():
        return finding, ""
    provinces = {place.rstrip("0123456789") for place in places}
    near = [code for code in closed if code.rstrip("0123456789") in provinces and not closed[code]]
    remedy = f"Name an open one in [site.places] climate: {', '.join(near) or 'any of its list'}."
    return finding, remedy


def _require_station(record: Mapping[str, Any], place: str) -> None:
    """Refuse another station's code; a name says nothing, and ids may be the service's own."""
    station = str(record.get("Estacion", place))
    if STATION.fullmatch(station) and station != place:
        raise ValueError(f"a record of station {station} came for {place}")


def _record_day(text: str) -> date:
    """Read a local midnight printed as UTC: 22:00 or 23:00 begins the day after."""
    written = instant(text)
    if (written.hour, written.minute) not in {(0, 0), (22, 0), (23, 0)}:
        raise ValueError(f"{text!r} is no midnight")
    return (written + timedelta(hours=2)).date()
