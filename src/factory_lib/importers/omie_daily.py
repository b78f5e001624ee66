"""The market operator's daily files ``marginalpdbc_YYYYMMDD.N``: one market day each, judged by its periods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from factory_lib.clock import from_epoch
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Reading, parsed_reading
from factory_lib.sources.omie import parse_marginalpdbc
from factory_lib.sources.parsing import Parsed

_EDITION = re.compile(r"\.(\d+)$")
_DAY = re.compile(r"_(\d{8})$")


def edition(name: str) -> tuple[str, int]:
    """Split a file name into what it is about and which publication of it: ``….2`` replaces ``….1``."""
    found = _EDITION.search(name)
    return (name[: found.start()], int(found[1])) if found else (name, 0)


def read(members: Sequence[Member]) -> Reading:
    """Read daily files; one with another number of periods than the market day has is not read at all."""
    reading = parsed_reading(members, _parse)
    numbers = {member.label: edition(member.name)[1] for member in members}
    table = reading.table.assign(edition=reading.table["member"].map(numbers).astype("int64"))
    return replace(reading, table=table, continuous=False)


def _parse(member: Member) -> Parsed:
    named = _DAY.search(edition(member.name)[0])
    day = date.fromisoformat(named[1]) if named else None
    return parse_marginalpdbc(member.data, from_epoch(0), day=day)
