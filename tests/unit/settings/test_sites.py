"""Several sites in one installation: what each has of its own, and what they share."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.catalogue import SITE
from factory_lib.errors import BadInput, ConfigError
from factory_lib.settings import ROOT, Settings
from tests.support.sites import SITES, with_sites


def load(home: Path, table: str = SITES, site: str = "") -> Settings:
    return factory_settings.load("demo", site, env=with_sites(home, table))


def test_without_the_table_there_is_one_site_with_every_job(settings: Settings) -> None:
    assert settings.site_ids == ("",)
    assert settings.for_site("") == settings
    assert settings.has_market
    assert settings.site.places.plant == SITE


def test_a_site_is_the_first_one_with_its_own_tables_laid_on_top(home: Path) -> None:
    first = load(home)
    coast = load(home, site="coast")
    assert (coast.site.name, coast.site.places.weather) == ("coast", ("36.720,-4.420",))
    assert coast.site.places.prices == first.site.places.prices
    assert coast.site.places.plant == "coast"
    assert (coast.plant.name, coast.plant.demand.weekly_kg) == ("Coast works", {"standard": 600})
    assert coast.contract.by_period == (90.0,) * 6
    assert first.contract.by_period == (150.0,) * 6
    assert structs.replace(coast, secrets=first.secrets) == first.for_site("coast")


def test_sites_share_store_registry_limits_and_clock_and_nothing_else(home: Path) -> None:
    first = load(home).paths
    coast = load(home, site="coast").paths
    shared = ("store", "hosts", "clock", "mlflow_db", "mlflow_uri", "mlflow_artifacts", "notebooks")
    for name in shared:
        assert getattr(coast, name) == getattr(first, name)
    assert coast.state == first.data / "sites" / "coast" / "state.db"
    assert coast.runs == first.runs / "sites" / "coast"
    assert coast.lock("x") != first.lock("x")
    assert coast.of_site("") == first


def test_what_is_of_the_market_is_the_work_of_the_first_site_in_it(home: Path) -> None:
    first = load(home)
    coast, lisbon, porto = map(first.for_site, ("coast", "lisbon", "porto"))
    assert (coast.market_id, lisbon.market_id, porto.market_id) == ("", "lisbon", "lisbon")
    assert [one.has_market for one in (first, coast, lisbon, porto)] == [True, False, True, False]
    assert "ree_price_ingestion" in lisbon.jobs
    assert first.jobs.keys() - coast.jobs.keys() == {"ree_price_ingestion", "aemet_token_check"}


def test_the_site_of_the_environment_is_the_default(home: Path) -> None:
    env = {**with_sites(home), "FACTORY_SITE": "coast"}
    assert factory_settings.load("demo", env=env).site_id == "coast"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("[sites.coast.plant]\nslot_min = 7", "sites.coast.plant.slot_min", id="value"),
        pytest.param("[sites.coast.jobs]\nx = 1", "key 'jobs' is unknown", id="table"),
        pytest.param("[sites.coast.site]\nname = 3", "sites.coast.site.name", id="type"),
        pytest.param("[sites.all]", "sites.all\\] is no name", id="all means every site"),
        pytest.param('[sites."../up"]', "is no name of a site", id="a path"),
    ],
)
def test_a_mistake_names_its_site(home: Path, table: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(home, table).for_site("coast")


def test_an_unknown_site_is_answered_with_those_there_are(home: Path) -> None:
    with pytest.raises(BadInput, match="coast, lisbon, porto"):
        load(home, site="madrid")


def test_the_shipped_settings_name_no_further_site() -> None:
    assert not factory_settings.load(
        "live", env={"FACTORY_CONFIG": str(ROOT / "config/factory.toml")}
    ).sites
