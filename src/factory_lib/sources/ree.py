"""REE's public data service (apidatos): day-ahead spot price and regulated tariff, keyless.

https://www.ree.es/es/datos/apidatos. Series are matched by id, since their names
changed between 2021 and 2025. Both ends of a request are inclusive wall times of
Madrid; 28 local days are always accepted at hourly resolution.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from factory_lib.clock import day_start, market_day
from factory_lib.errors import BadRange, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import PriceSource
from factory_lib.sources.parsing import (
    MARKET_AREA,
    Parsed,
    RowCollector,
    malformed,
    parse_json,
    require,
    require_in_any,
)

PRICES = "/es/datos/mercados/precios-mercados-tiempo-real"
IDS = {"pvpc_eur_mwh": "1001", "spot_eur_mwh": "600"}
MAX_DAYS = 31  # a calendar month at hourly resolution
# The answer for a range too long, for geography, and for what is not published; the part
# that no encoding changes.
TRY_LATER = "disponibles en este momento"


class Ree(PriceSource):
    """Spot and PVPC in one request."""

    since = day_start(date(2014, 1, 1))

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the market days that the window touches."""
        first = market_day(start)
        last = market_day(end - timedelta(seconds=1))
        reply = self.http.get(
            PRICES,
            {"start_date": f"{first}T00:00", "end_date": f"{last}T23:59", "time_trunc": "hour"},
            {"Accept": "application/json", "Content-Type": "application/json"},
            check=lambda reply: classify_response(reply, (last - first).days + 1),
        )
        return parse_prices(reply, series, self.clock.now())


def classify_response(reply: Reply, days: int) -> SourceError | None:
    """Return the error a reply stands for, given how many days were requested.

    One text says "try later" for a range too long and for values not published: our own
    request tells which.
    """
    if reply.status == 400 and TRY_LATER in reply.text:
        if days > MAX_DAYS:
            return BadRange("ree", f"{days} days in one request", status=400)
        return NoDataYet("ree", "not published", status=400)
    if "Incapsula" in reply.text[:2000] and reply.is_html:
        return ServerError("ree", "its firewall refused the request", status=reply.status)
    return None


@malformed("ree")
def parse_prices(body: Reply | bytes, series: Sequence[str], retrieved_at: datetime) -> Parsed:
    """Return the requested series of a price answer.

    Raises
    ------
    NoDataYet
        If none of them is in it.
    MalformedResponse
        If it is not the documented structure.
    """
    included = require(parse_json(body), "included", list)
    require_in_any(included, "id")
    by_id = {str(item["id"]): item for item in included if isinstance(item, dict) and "id" in item}
    parsed = []
    for name in series:
        if IDS[name] in by_id:
            attributes = require(by_id[IDS[name]], "attributes", dict)
            updated_at = attributes.get("last-update")
            rows = RowCollector("ree", MARKET_AREA, Ree.kind, retrieved_at, updated_at)
            rows.add_prices(name, rows.points(name, require(attributes, "values", list)))
            parsed.append(rows.parsed())
    if not parsed:
        raise NoDataYet("ree", f"{' and '.join(series)} not in the answer")
    return sum(parsed[1:], start=parsed[0])
