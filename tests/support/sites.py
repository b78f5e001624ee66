"""Settings with further sites: the shipped file and a few tables."""

from __future__ import annotations

from pathlib import Path

from factory_lib.settings import ROOT

SITES = """
[sites.coast.site.places]
weather = ["36.720,-4.420"]
[sites.coast.plant]
name = "Coast works"
[sites.coast.plant.demand]
weekly_kg = { standard = 600 }
[sites.coast.contract]
kw = { P1 = 90, P2 = 90, P3 = 90, P4 = 90, P5 = 90, P6 = 90 }

[sites.lisbon.site.places]
prices = ["PT"]

[sites.porto.site.places]
prices = ["PT"]
"""


def with_sites(home: Path, tables: str = SITES) -> dict[str, str]:
    """Write settings with further sites, and return the environment that names them."""
    file = home / "factory.toml"
    shipped = (ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
    file.write_text(f"{shipped}\n{tables}", encoding="utf-8")
    return {"FACTORY_HOME": str(home), "FACTORY_CONFIG": str(file)}
