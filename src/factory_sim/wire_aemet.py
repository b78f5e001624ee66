"""AEMET OpenData: every answer in two steps, the second at an address that soon expires.

Status 200 means little here: without a key the body is empty, and refusals carry their
own ``estado``.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from factory_lib.clock import epoch
from factory_sim import aemet_documents
from factory_sim.aemet_documents import Refusal
from factory_sim.exchange import Answer, Ask, Provider, as_html

LATIN, UTF8 = "ISO-8859-15", "UTF-8"
NO_DATA = "No hay datos que satisfagan esos criterios"
DOCUMENT_LIVES = timedelta(minutes=5)
PER_MINUTE = 40
QUIRKS = {
    "malformed_key": "401: the key is no token",
    "expired_key": "401: the key has expired",
    "expired_document": "the second address is already gone",
    "expired_words": "the second address says under 200 that its data have expired",
    "stray_record": "one observation comes twice, and one at an odd minute",
    "utf8": "documents in UTF-8 instead of ISO-8859-15, and declared so",
    "naive_fint": "observation times without an offset, as in 2021",
    "dead_sensor": "no wind and no pressure keys",
    "missing_keys": "daily records without humidity and radiation keys",
    "accumulated": "every third rainy day is measured with the next (Acum)",
    "no_data": "estado 404 inside a 200",
    "without_address": "estado 429 inside a 200 without an address",
}


def answer(ask: Ask) -> Answer:
    """Return what the interface, and the addresses that it gives, answer."""
    path = ask.path.removeprefix("/opendata")
    if path.startswith("/sh/"):
        return _document(ask, path)
    for template, limit, resource in _RESOURCES:
        if match := re.fullmatch(template, path):
            return _key_refusal(ask) or _first_step(ask, resource, match.groups(), template, limit)
    return as_html(
        "HTTP Status 404 – Not Found",
        "The origin server did not find a current representation.",
        404,
    )


def _key_refusal(ask: Ask) -> Answer | None:
    if not (ask.headers.get("api_key") or ask.get("api_key")):
        return Answer(200, b"", "text/plain;charset=ISO-8859-15")
    if "malformed_key" in ask.quirks:
        return _envelope(
            401, "JWT strings must contain exactly 2 period characters. Found: 0", status=401
        )
    if "expired_key" in ask.quirks:
        return _envelope(401, "La API Key ha expirado. Genere una nueva API Key.", status=401)
    return None


def _first_step(
    ask: Ask, resource: Callable[..., list[Any]], values: tuple[str, ...], template: str, limit: int
) -> Answer:
    """Keep the document and return where it is."""
    if "without_address" in ask.quirks:
        return _envelope(429, _TOO_MANY)
    try:
        content = [] if "no_data" in ask.quirks else resource(ask, *values)
        if not content:
            raise Refusal(404, NO_DATA)
    except Refusal as refusal:
        return _envelope(refusal.estado, str(refusal))
    expires = ask.now + (timedelta() if "expired_document" in ask.quirks else DOCUMENT_LIVES)
    charset = UTF8 if "utf8" in ask.quirks else LATIN
    if "stray_record" in ask.quirks and len(content) > 2 and "fint" in content[0]:
        odd = str(content[0]["fint"]).replace(":00:00", ":07:00")
        content = [{**content[0], "fint": odd}, *content[1:], content[-1]]
    body = _spaced(content).encode(charset, "replace")
    address = f"/sh/{ask.world.noise.seed & 0xFFFF:04x}{ask.ordinal:06x}"
    _remove_expired(ask)
    ask.documents[address] = (expires, Answer(200, body, f"text/plain;charset={charset}"))
    return _envelope(
        200,
        "exito",
        datos=ask.base_url + "/opendata" + address,
        metadatos=ask.base_url + "/opendata" + address + "m",
        headers={"Remaining-request-endpoint": str(_remaining(ask, template, limit))},
    )


def _remove_expired(ask: Ask) -> None:
    for key, kept in list(ask.documents.items()):
        if key.startswith("/sh/") and kept[0] <= ask.now:
            ask.documents.pop(key, None)


def _remaining(ask: Ask, template: str, limit: int) -> int:
    """Count down per kind of request and minute of the clock."""
    minute = epoch(ask.now) // 60
    used = ask.documents.get(template, (minute, 0))
    ask.documents[template] = (minute, used[1] + 1 if used[0] == minute else 1)
    return max(limit - int(ask.documents[template][1]), 0)


def _document(ask: Ask, address: str) -> Answer:
    kept = ask.documents.get(address)
    if "expired_words" in ask.quirks:
        return _envelope(404, "datos expirados")
    if kept is None or ask.now >= kept[0]:
        return as_html(
            "HTTP Status 404 – Not Found", "The requested resource is not available.", 404
        )
    document: Answer = kept[1]
    return document


_RESOURCES: tuple[tuple[str, int, Callable[..., list[Any]]], ...] = (
    (
        r"/api/observacion/convencional/datos/estacion/([^/]+)",
        PER_MINUTE,
        aemet_documents.observations,
    ),
    (r"/api/observacion/convencional/todas", PER_MINUTE, aemet_documents.observations),
    (
        r"/api/valores/climatologicos/diarios/datos/fechaini/([^/]+)/fechafin/([^/]+)"
        r"/(estacion/[^/]+|todasestaciones)",
        PER_MINUTE,
        aemet_documents.daily_climate,
    ),
    (
        r"/api/valores/climatologicos/inventarioestaciones/todasestaciones",
        PER_MINUTE,
        aemet_documents.inventory,
    ),
    (r"/api/prediccion/especifica/municipio/horaria/(\d{5})", 15, aemet_documents.hourly_forecast),
)


# -- wording --------------------------------------------------------------------------------------


def _spaced(content: Any) -> str:
    """Print JSON as AEMET does, with a blank before the colon."""
    return json.dumps(content, ensure_ascii=False, indent=2, separators=(",", " : "))


def _envelope(
    estado: int,
    text: str,
    *,
    status: int = 200,
    charset: str = LATIN,
    headers: dict[str, str] | None = None,
    **addresses: str,
) -> Answer:
    content = {"descripcion": text, "estado": estado, **addresses}
    return Answer(
        status,
        _spaced(content).encode(charset),
        f"application/json;charset={charset}",
        headers or {},
    )


_TOO_MANY = "Se ha alcanzado uno de los límites de uso. Vuelva a intentarlo el próximo minuto."
_OLD_TOO_MANY = (
    "Límite de peticiones o caudal por minuto excedido para este usuario. "
    "Espere al siguiente minuto."
)
PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "too_many": (
            _envelope(429, _TOO_MANY, status=429, charset=UTF8),
            _envelope(429, _OLD_TOO_MANY, status=429),
            as_html("HTTP Status 429 – Too Many Requests", "", 429),
        ),
        "unauthorised": (
            _envelope(401, "La API Key ha expirado. Genere una nueva API Key.", status=401),
        ),
        "server_error": (
            as_html("HTTP Status 500 – Internal Server Error", "", 500),
            as_html("HTTP Status 503 – Service Unavailable", "", 503),
        ),
    },
)
