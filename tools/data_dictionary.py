"""Print docs/data-dictionary.md from the catalogue.

``python tools/data_dictionary.py > docs/data-dictionary.md``.
"""

from __future__ import annotations

import sys

from factory_lib.catalogue import AfterSlot, DayAhead, Grid, Publication, Series, default_catalogue

HEAD = """# Data dictionary

Printed from `factory_lib.catalogue` by `python tools/data_dictionary.py`; a test keeps it in step.

A stored row is one value: series, place, source, kind, resolution, start of the slot (UTC),
revision, value, and when it became available, was retrieved and was last updated by its
provider. Publication times are local (Europe/Madrid).

| series | unit | table | range | slots | known | sources, most trusted first |
|---|---|---|---|---|---|---|
"""
STEPS = {900: "quarter-hours", 3600: "hours", 86400: "UTC days"}


def known(rule: Publication) -> str:
    """Return a publication rule in words."""
    if isinstance(rule, DayAhead):
        day = "the day before" if rule.days == 1 else f"{rule.days} days before"
        return f"{day}, {rule.at:%H:%M}"
    assert isinstance(rule, AfterSlot)
    hours = rule.delay.total_seconds() / 3600
    return f"{hours / 24:g} d after the slot" if hours >= 24 else f"{hours:g} h after the slot"


def slots(entry: Series) -> str:
    """Return the cadence, with its validity where it changed."""
    words = [
        "market days"
        if c.grid is Grid.LOCAL_DAY
        else STEPS[c.resolution_s] + (f" since {c.since:%Y-%m-%dT%H:%MZ}" if n else "")
        for n, c in enumerate(entry.cadences)
    ]
    return ", ".join(words)


def line(entry: Series) -> str:
    """Return the table row of one series."""
    rules = [f"{kind}: {known(rule)}" for kind, rule in entry.publication.items()]
    rules += [f"{source}: {known(rule)}" for source, rule in entry.publication_by_source.items()]
    return (
        f"| `{entry.name}` {entry.description} | {entry.unit} | {table(entry)} "
        f"| {entry.low:g} … {entry.high:g} "
        f"| {slots(entry)} | {'; '.join(rules)} | {', '.join(entry.sources)} |"
    )


def table(entry: Series) -> str:
    """Return where the values are stored."""
    if entry.forecast_of:
        return f"forecasts: `{entry.forecast_of}`, {entry.area}"
    return entry.measurement


def page() -> str:
    """Return the whole page."""
    return HEAD + "\n".join(line(entry) for entry in default_catalogue().values()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
