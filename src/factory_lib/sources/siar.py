"""SIAR, the ministry's network of farm weather stations: daily climate by export and by API.

Website: UTF-16LE without byte order mark, ``;``, decimal comma, empty is no value,
absent days are absent. API, version 2 (https://servicio.mapa.gob.es/siarapi): every
functional refusal is a 403, distinguished by its text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from string import ascii_uppercase, digits
from typing import Any

from factory_lib.catalogue import Kind
from factory_lib.errors import (
    AuthError,
    BadRange,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    SourceError,
)
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import Interval, Source
from factory_lib.sources.parsing import Parsed, RowCollector, comma_number, parse_json, require

# Series -> (column of the website's export, field of the API).
FIELDS: Mapping[str, tuple[str, str]] = {
    "temperature_mean_c": ("Temp Media (ºC)", "TempMedia"),
    "temperature_max_c": ("Temp Max (ºC)", "TempMax"),
    "temperature_min_c": ("Temp Mínima (ºC)", "TempMin"),
    "humidity_mean_pct": ("Humedad Media (%)", "HumedadMedia"),
    "humidity_max_pct": ("Humedad Max (%)", "HumedadMax"),
    "humidity_min_pct": ("Humedad Min (%)", "HumedadMin"),
    "precipitation_sum_mm": ("Precipitación (mm)", "Precipitacion"),
    "wind_speed_mean_ms": ("Velviento (m/s)", "VelViento"),
    "solar_radiation_mj_m2": ("Radiación (MJ/m2)", "Radiacion"),
}
PROVINCES = {23: "J"}  # IdProvincia -> letters of the station code; for others name the place
API = "/siarapi/API/V1"
TOKEN_LIFE = timedelta(minutes=50)
PAUSE_S = 65.0


class Siar(Source):
    """Daily climate of one station by the REST API."""

    place_pattern = r"[A-Z]{1,2}\d{2}"
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
        return parse_api(reply, place, self.clock.now(), source=self.name)

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
        path = f"{API}/Autenticacion/{step}"
        reply = self.http.get(path, secret_params=params, check=self._classify)
        return Secret(reply.text.strip().strip('"'))

    def _classify(self, reply: Reply) -> SourceError | None:
        error = classify_response(reply, self.clock.now(), self.name)
        if isinstance(error, AuthError):
            self._token = None
        return error


def classify_response(reply: Reply, now: datetime, source: str = "siar") -> SourceError | None:
    """Return the error a reply stands for: the text of a 403 tells quota, range and key apart."""
    if reply.status != 403 or reply.is_html:
        return None
    text = _message(reply).lower()
    if "fecha mínima" in text or "fecha minima" in text:
        return BadRange(source, "the token sees no further back than about a year", status=403)
    if "en un día" in text or "en un dia" in text:
        tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        pause_s = (tomorrow - now).total_seconds()
        return QuotaError(source, "the day's quota is used up", status=403, retry_after_s=pause_s)
    if "minuto" in text:
        problem = "the minute's quota is used up"
        return QuotaError(source, problem, status=403, retry_after_s=PAUSE_S)
    return AuthError(source, "the token was refused", status=403)


def _message(reply: Reply) -> str:
    try:
        return require("siar", parse_json("siar", reply), "MensajeRespuesta", str)
    except MalformedResponse:
        return reply.text


def parse_api(
    body: Reply | bytes, place: str, retrieved_at: datetime, *, source: str = "siar"
) -> Parsed:
    """Return the daily records of one station.

    Dates are local midnights printed as UTC, so a record of 22:00 or 23:00 belongs to
    the day that begins then.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no record, or the structure is not the documented one.
    """
    answer = parse_json(source, body)
    if isinstance(answer, dict) and answer.get("MensajeRespuesta"):
        raise MalformedResponse(source, f"it says {str(answer['MensajeRespuesta'])!r}")
    days: dict[date, dict[str, Any]] = {}
    for record in require(source, answer, "datos", list):
        day = _record_day(require(source, record, "Fecha", str), source)
        station = require(source, record, "IdEstacion", int)
        if station != int(place.lstrip(ascii_uppercase)):
            raise MalformedResponse(source, f"a record of station {station} came for {place}")
        if day in days:
            raise MalformedResponse(source, f"two records of {day}")
        # Capitals differ from the service's own manual: humedadMin.
        days[day] = {key.lower(): value for key, value in record.items()}
    if not days:
        raise NoDataYet(source, "no record")
    rows = RowCollector(source, place, Kind.OBSERVED, retrieved_at)
    for name, (_, field) in FIELDS.items():
        rows.add_days(name, {day: record.get(field.lower()) for day, record in days.items()})
    return rows.parsed()


def _record_day(text: str, source: str) -> date:
    try:
        written = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedResponse(source, f"{text!r} is no date") from None
    if (written.hour, written.minute) not in {(0, 0), (22, 0), (23, 0)}:
        raise MalformedResponse(source, f"{text!r} is no midnight")
    return (written + timedelta(hours=2)).date()


def parse_website_csv(
    body: bytes | str, retrieved_at: datetime, *, place: str | None = None, source: str = "siar"
) -> Parsed:
    """Return the rows of an export; ``place`` defaults to the station that the rows name.

    A row without any value is rejected as empty: its day is missing. A row whose day of
    the year does not fit its date is rejected too.

    Raises
    ------
    MalformedResponse
        If it is not such an export, or of more than one station.
    """
    lines = _lines(body if isinstance(body, str) else _decoded(body, source), source)
    codes = {(line["IdProvincia"], line["IdEstacion"]) for line in lines.values()}
    rows = RowCollector(source, _station(codes, place, source), Kind.OBSERVED, retrieved_at)
    days: dict[date, dict[str, str]] = {}
    for number, line in lines.items():
        day = _export_day(line)
        if day is None or day in days:
            reason = "no date" if day is None else "a second row of that day"
            rows.reject(";".join(line.values()), reason, number)
        elif not any(line[column] for column, _ in FIELDS.values()):
            rows.reject(";".join(line.values()), "no value", number)
        else:
            days[day] = line
    for name, (column, _) in FIELDS.items():
        rows.add_days(name, {day: line[column] for day, line in days.items()}, comma_number)
    return rows.parsed()


def _lines(text: str, source: str) -> dict[int, dict[str, str]]:
    """Return the cells of each line by column, and each line by its number."""
    header, *body = csv.reader(io.StringIO(text, newline=""), delimiter=";")
    names = [name.strip() for name in header]
    columns = [column for column, _ in FIELDS.values()]
    required = {"IdProvincia", "IdEstacion", "Fecha", "Año", "Dia", *columns}
    if lacking := required - set(names):
        raise MalformedResponse(source, f"no SIAR export: it lacks {', '.join(sorted(lacking))}")
    lines = {}
    for number, cells in enumerate(body, 2):
        if len(cells) != len(names):
            raise MalformedResponse(source, "a row with too many or too few cells")
        lines[number] = dict(zip(names, map(str.strip, cells), strict=True))
    return lines


def _decoded(body: bytes, source: str) -> str:
    try:
        return body.decode("utf-16-le" if b"\x00" in body[:4] else "utf-8").lstrip("\ufeff")
    except UnicodeDecodeError:
        raise MalformedResponse(source, "no SIAR export: neither UTF-16 nor UTF-8") from None


def _station(codes: set[tuple[str, str]], place: str | None, source: str) -> str:
    try:
        ((province, number),) = codes
        letters = PROVINCES.get(int(province)) or (place or "?").rstrip(digits)
        station = f"{letters}{int(number):02d}"
    except ValueError:
        raise MalformedResponse(source, f"rows of {len(codes)} stations") from None
    if station.startswith("?") or (place is not None and station != place):
        raise MalformedResponse(source, f"the rows are of station {station}, not of {place}")
    return station


def _export_day(row: Mapping[str, str]) -> date | None:
    """Return the day of a row, or None where its date and day of the year disagree."""
    try:
        day = datetime.strptime(row["Fecha"], "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
        fits = (day.year, day.timetuple().tm_yday) == (int(row["Año"]), int(row["Dia"]))
    except ValueError:
        return None
    return day if fits else None
