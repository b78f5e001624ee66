"""SIAR, the ministry's network of farm weather stations: daily climate by website export and by REST API.

Website: UTF-16LE without byte order mark, ``;``, decimal comma, empty is no value,
absent days are absent. API, version 2 (https://servicio.mapa.gob.es/siarapi): every
functional refusal is a 403 told apart by its text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
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
from factory_lib.sources.base import Source, Window
from factory_lib.sources.parsing import Door, Parsed, add_days, at, comma_number, json_of, number

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

    def reach(self, series: str) -> Window:
        """Return the past year: an ordinary token sees no further back."""
        now = self.clock.now()
        return now - timedelta(days=365), now

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the days of the window."""
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
            check=self._meaning,
        )
        return parse_api(reply, place, self.clock.now(), source=self.name)

    def _valid_token(self) -> Secret:
        """Return the token of this session, asking for a new one before the old one dies."""
        now = self.clock.now()
        if self._token is None or self._token[1] <= now:
            secrets = self.settings.secrets
            user, password = (
                self._encrypted(secrets.siar_user),
                self._encrypted(secrets.siar_password),
            )
            reply = self.http.get(
                f"{API}/Autenticacion/obtenerToken",
                secret_params={"Usuario": user, "Password": password},
                check=self._meaning,
            )
            self._token = Secret(reply.text.strip().strip('"')), now + TOKEN_LIFE
        return self._token[0]

    def _encrypted(self, plain: Secret) -> Secret:
        path = f"{API}/Autenticacion/cifrarCadena"
        reply = self.http.get(path, secret_params={"cadena": plain}, check=self._meaning)
        return Secret(reply.text.strip().strip('"'))

    def _meaning(self, reply: Reply) -> SourceError | None:
        error = meaning(reply, self.clock.now(), self.name)
        if isinstance(error, AuthError):
            self._token = None
        return error


def meaning(reply: Reply, now: datetime, source: str = "siar") -> SourceError | None:
    """Return the error a reply stands for: the text of a 403 tells quota, range and key apart."""
    if reply.status != 403 or reply.is_html:
        return None
    said = _message(reply).lower()
    if "fecha mínima" in said or "fecha minima" in said:
        return BadRange(source, "the token sees no further back than about a year", status=403)
    if "en un día" in said or "en un dia" in said:
        tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return QuotaError(
            source,
            "the day's quota is used up",
            status=403,
            retry_after_s=(tomorrow - now).total_seconds(),
        )
    if "minuto" in said:
        return QuotaError(
            source, "the minute's quota is used up", status=403, retry_after_s=PAUSE_S
        )
    return AuthError(source, "the token was refused", status=403)


def _message(reply: Reply) -> str:
    try:
        return str(at("siar", json_of("siar", reply), "MensajeRespuesta", str))
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
    answer = json_of(source, body)
    if isinstance(answer, dict) and answer.get("MensajeRespuesta"):
        raise MalformedResponse(source, f"it says {str(answer['MensajeRespuesta'])!r}")
    records = at(source, answer, "datos", list)
    door = Door(source, place, Kind.OBSERVED, retrieved_at)
    days: dict[date, dict[str, Any]] = {}
    for record in records:
        day = _record_day(at(source, record, "Fecha", str), source)
        if (station := at(source, record, "IdEstacion", int)) != int(place.lstrip(ascii_uppercase)):
            raise MalformedResponse(source, f"a record of station {station} came for {place}")
        if day in days:
            raise MalformedResponse(source, f"two records of {day}")
        days[day] = {
            key.lower(): value for key, value in record.items()
        }  # humedadMin, against its own manual
    if not days:
        raise NoDataYet(source, "no record")
    for name, (_, field) in FIELDS.items():
        add_days(
            door, name, {day: record.get(field.lower()) for day, record in days.items()}, number
        )
    return door.parsed()


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
    """Return the rows of an export of the website; ``place`` defaults to the station that the rows name.

    A row without any value is rejected as empty: its day is missing. A row whose day of
    the year does not fit its date is rejected too.

    Raises
    ------
    MalformedResponse
        If it is not such an export, or of more than one station.
    """
    text = body if isinstance(body, str) else _decoded(body, source)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    needed = {
        "IdProvincia",
        "IdEstacion",
        "Fecha",
        "Año",
        "Dia",
        *(column for column, _ in FIELDS.values()),
    }
    if lacking := needed - {str(name).strip() for name in table.fieldnames or []}:
        raise MalformedResponse(source, f"no SIAR export: it lacks {', '.join(sorted(lacking))}")
    rows = [
        (table.line_num, {str(k).strip(): str(v).strip() for k, v in row.items()}) for row in table
    ]
    if any(len(row) != len(table.fieldnames or []) or "None" in row.values() for _, row in rows):
        raise MalformedResponse(source, "a row with too many or too few cells")
    station = _station({(row["IdProvincia"], row["IdEstacion"]) for _, row in rows}, place, source)
    door = Door(source, station, Kind.OBSERVED, retrieved_at)
    days: dict[date, dict[str, str]] = {}
    for line, row in rows:
        day = _export_day(row)
        if day is None or day in days or not any(row[column] for column, _ in FIELDS.values()):
            reason = (
                "no date"
                if day is None
                else "a second row of that day"
                if day in days
                else "no value"
            )
            door.reject(";".join(row.values()), reason, line)
            continue
        days[day] = row
    for name, (column, _) in FIELDS.items():
        add_days(door, name, {day: row[column] for day, row in days.items()}, comma_number)
    return door.parsed()


def _decoded(body: bytes, source: str) -> str:
    try:
        return body.decode("utf-16-le" if b"\x00" in body[:4] else "utf-8").lstrip("\ufeff")
    except UnicodeDecodeError:
        raise MalformedResponse(source, "no SIAR export: neither UTF-16 nor UTF-8") from None


def _station(found: set[tuple[str, str]], place: str | None, source: str) -> str:
    try:
        ((province, count),) = found
        letters = PROVINCES.get(int(province)) or (place or "?").rstrip(digits)
        station = f"{letters}{int(count):02d}"
    except ValueError:
        raise MalformedResponse(source, f"rows of {len(found)} stations") from None
    if station.startswith("?") or (place is not None and station != place):
        raise MalformedResponse(source, f"the rows are of station {station}, not of {place}")
    return station


def _export_day(row: Mapping[str, str]) -> date | None:
    try:
        day = datetime.strptime(row["Fecha"], "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
        fits = (day.year, day.timetuple().tm_yday) == (int(row["Año"]), int(row["Dia"]))
    except ValueError:
        return None
    return day if fits else None
