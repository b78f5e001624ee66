"""Faults on the line or at the provider, by rate or by script.

A rule names a ``kind``: one of ``LINE`` below, or a quirk of a provider (see
``Provider.quirks``). Whether it strikes a request depends on the seed and the number of
the request at its source, so a run can be repeated. A script is TOML, or JSON of the
same shape; ``factory simulate --list-faults`` prints every kind::

    [[rules]]
    kind = "server_error"                 # at any provider
    rate = 0.05

    [[rules]]
    kind = "outage"
    source = "ree"
    since = 2026-04-15T11:00:00Z
    until = 2026-04-15T14:00:00Z

    [[holes]]                             # withheld from the first answer that covers it
    series = ["prices", "temperature_c"]
    start = 2026-04-10T04:00:00Z
    end = 2026-04-10T09:00:00Z
    lost = false                          # true: never delivered
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from factory_lib.clock import parse_instant
from factory_lib.errors import BadInput
from factory_sim.exchange import Answer, Provider, as_html, as_json
from factory_sim.noise import Noise

LINE: Mapping[str, str] = {
    "outage": "503 for everything, as a web server in front of nothing",
    "server_error": "500, 502, 503 or 504 in the provider's words",
    "too_many": "429 in the provider's words",
    "unauthorised": "401 in the provider's words",
    "forbidden": "403, mostly a firewall's page",
    "html": "200 with a page for people",
    "garbage": "200 with bytes that mean nothing",
    "empty": "200 without a body",
    "truncated": "200 with the first half of the body",
    "reset": "connection reset in the middle of the body",
    "slow": "the answer comes `seconds` later, in real time",
}

_GENERIC: Mapping[str, tuple[Answer, ...]] = {
    "outage": (
        as_html("503 Service Unavailable", "No server is available to handle this request.", 503),
    ),
    "server_error": tuple(
        as_html(f"{status} {title}", "The server could not complete the request.", status)
        for status, title in (
            (500, "Internal Server Error"),
            (502, "Bad Gateway"),
            (503, "Service Unavailable"),
            (504, "Gateway Time-out"),
        )
    ),
    "too_many": (as_json({"message": "Too many requests"}, 429),),
    "unauthorised": (as_json({"message": "Unauthorized"}, 401),),
    "forbidden": (
        as_html("403 Forbidden", "You do not have permission to access this resource.", 403),
    ),
    "html": (as_html("Mantenimiento", "Estamos realizando tareas de mantenimiento.", 200),),
    "garbage": (Answer(200, bytes(range(256)) * 4),),
    "empty": (Answer(200, b""),),
}


@dataclass(frozen=True)
class Rule:
    """The conditions of a fault: all of them together, and then chance.

    Attributes
    ----------
    kind : str
        A key of ``LINE``, or a quirk of a provider.
    source : str
        One provider, or ``*``.
    rate : float
        Probability per request.
    since, until : datetime, optional
        Half-open window on the simulator's clock (UTC).
    times : int, optional
        Strike at most so often.
    path : str
        Only requests whose path contains this.
    seconds : float
        How long ``slow`` takes.
    """

    kind: str
    source: str = "*"
    rate: float = 1.0
    since: datetime | None = None
    until: datetime | None = None
    times: int | None = None
    path: str = ""
    seconds: float = 1.0

    def applies(self, source: str, path: str, now: datetime) -> bool:
        """Return whether the conditions hold, chance aside."""
        return (
            self.source in ("*", source)
            and self.path in path
            and (self.since is None or now >= self.since)
            and (self.until is None or now < self.until)
        )


class FaultPlan:
    """The rules in force: of several line faults of a request the first counts; quirks add up."""

    def __init__(self, rules: Iterable[Rule], seed: int) -> None:
        self.rules = tuple(rules)
        self._struck = [0] * len(self.rules)
        self._noise = Noise(seed)

    def draw(
        self, source: str, path: str, now: datetime, ordinal: int
    ) -> tuple[Rule | None, frozenset[str]]:
        """Return the line fault, or None, and the quirks of a request; under the server's lock."""
        line: Rule | None = None
        quirks: set[str] = set()
        for position, rule in enumerate(self.rules):
            if not rule.applies(source, path, now) or self._struck[position] == rule.times:
                continue
            if self.chance(f"rule {position} {source}", ordinal) >= rule.rate:
                continue
            if rule.kind not in LINE:
                quirks.add(rule.kind)
            elif line is None:
                line = rule
            else:
                continue
            self._struck[position] += 1
        return line, frozenset(quirks)

    def chance(self, stream: str, ordinal: int) -> float:
        """Return a number in [0, 1) by seed, stream and the request's number at its source."""
        return float(self._noise.uniform(stream, np.array([ordinal]))[0])

    def refusal(self, kind: str, provider: Provider, ordinal: int) -> Answer | None:
        """Return the answer in place of the provider's, or None where its own is sent."""
        choice = provider.refusals.get(kind) or _GENERIC.get(kind)
        return choice[int(self.chance(kind, ordinal) * len(choice))] if choice else None


def read_rules(
    script: Iterable[Mapping[str, Any]], providers: Mapping[str, Provider]
) -> tuple[Rule, ...]:
    """Read rules from parsed TOML or JSON; the keys are the attributes of ``Rule``.

    Raises
    ------
    BadInput
        If a kind, source or key is unknown; the message lists those there are.
    """
    rules = []
    for entry in script:
        values = dict(entry)
        for key in ("since", "until"):
            if values.get(key) is not None:
                values[key] = parse_instant(str(values[key]))
        try:
            rule = Rule(**values)
        except TypeError as error:
            raise BadInput(f"A fault rule cannot be read: {error}.") from None
        named = list(providers) if rule.source == "*" else [rule.source]
        quirks = [providers[source].quirks for source in named if source in providers]
        kinds = set(LINE).union(*quirks)
        if rule.source not in ("*", *providers) or rule.kind not in kinds:
            raise BadInput(
                f"There is no fault {rule.kind!r} of source {rule.source!r}.",
                next_step=f"Sources: {', '.join(providers)}. Faults: {', '.join(sorted(kinds))}.",
            )
        rules.append(rule)
    return tuple(rules)


def read_script(file: Path) -> dict[str, Any]:
    """Read a script from a TOML or JSON file: tables ``rules`` and ``holes``.

    Raises
    ------
    BadInput
        If the file cannot be read as what its name says.
    """
    try:
        text = file.read_text(encoding="utf-8")
        parsed: dict[str, Any] = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} is not a fault script: {error}.") from error
    return parsed
