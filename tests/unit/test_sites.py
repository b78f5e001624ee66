"""Several sites over one store: each package does a site's own work, and no other's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.admin import backup, cron
from factory_lib.admin.maintenance import maintain
from factory_lib.catalogue import SITE
from factory_lib.cli import main as main_command
from factory_lib.clock import MADRID, display_zone
from factory_lib.context import RunContext, open_context
from factory_lib.importers import import_path
from factory_lib.models.prediction import predict
from factory_lib.models.tracking import registered_name
from factory_lib.monitoring import growth, health
from factory_lib.pipeline.gaps import analyse
from factory_lib.planner.request import weekly_orders
from factory_lib.planning import daily, documents, inputs, overrides
from factory_lib.planning.summary import describe_plant
from factory_lib.runs import due, index
from factory_lib.service import pages
from factory_lib.service.app import make_app
from factory_lib.service.reading import Reading
from factory_lib.settings import Settings
from factory_lib.state import open_state
from factory_lib.state.marks import STORED, get_marks, set_mark
from factory_lib.views.words import Words
from factory_sim.clock import SimulatedClock
from tests.support.asgi import Client
from tests.support.sites import with_sites
from tests.support.week import NOON, furnish

PLAN = "production_optimization"


@pytest.fixture
def first(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in with_sites(home).items():
        monkeypatch.setenv(name, value)
    return factory_settings.load("live")


def opened(settings: Settings) -> Iterator[RunContext]:
    clock = SimulatedClock(NOON)
    with open_context(settings=settings, as_of=NOON, clock=clock, run_id="test") as ctx:
        yield ctx


@pytest.fixture
def main(first: Settings) -> Iterator[RunContext]:
    yield from opened(first)


@pytest.fixture
def coast(first: Settings) -> Iterator[RunContext]:
    yield from opened(first.for_site("coast"))


def test_gaps_of_prices_are_the_markets_and_of_weather_the_sites(
    main: RunContext, coast: RunContext
) -> None:
    furnish(main, NOON, days=2, quarters=True)
    of_main, of_coast = (
        set(analyse(ctx, NOON - timedelta(days=1)).gaps["series"]) for ctx in (main, coast)
    )
    assert "temperature_c" in of_coast - of_main
    assert not [name for name in of_coast if name.endswith("eur_mwh")]


def test_prices_of_a_file_are_those_of_the_sites_market(first: Settings, tmp_path: Path) -> None:
    day = (NOON - timedelta(days=1)).date()
    file = tmp_path / f"marginalpdbc_{day:%Y%m%d}.1"
    rows = [f"{day:%Y;%m;%d};{n};30;60;" for n in range(1, 97)]
    file.write_text("\n".join(["MARGINALPDBC;", *rows, "*"]), encoding="latin-1")
    found = {}
    for site in (first, first.for_site("lisbon")):
        with open_context(settings=site, as_of=NOON, clock=SimulatedClock(NOON)) as ctx:
            import_path(ctx, file)
            stored = ctx.store.read(
                "spot_eur_mwh",
                places=site.site.places.prices,
                start=NOON - timedelta(days=2),
                end=NOON,
            )
            found |= {site.site_id: set(stored["value"])}
    assert found == {"": {60.0}, "lisbon": {30.0}}


def test_a_series_that_no_provider_has_for_a_site_is_not_missed(first: Settings) -> None:
    lisbon = first.for_site("lisbon")
    of_first, of_lisbon = (set(health.look(site)["latest"]["series"]) for site in (first, lisbon))
    assert of_first - of_lisbon == {"pvpc_eur_mwh"}, "Portugal has no regulated tariff"
    assert "spot_eur_mwh" in of_lisbon


def test_records_of_the_plant_are_its_own(
    main: RunContext, coast: RunContext, tmp_path: Path
) -> None:
    day = (NOON - timedelta(days=1)).date()
    for ctx, kg in ((main, 100), (coast, 60)):
        file = tmp_path / f"{kg}.csv"
        file.write_text(f"day,produced_kg\n{day},{kg}\n", encoding="utf-8")
        import_path(ctx, file)
    found = [inputs.produced_kg(ctx, day, NOON.date()).tolist() for ctx in (main, coast)]
    assert found == [[100.0], [60.0]]
    assert set(main.store.inventory()["place"]) == {SITE, "coast"}


def test_a_plan_is_due_when_the_market_has_new_prices(main: RunContext, coast: RunContext) -> None:
    later = NOON + timedelta(minutes=30)
    set_mark(coast.state, "job", PLAN, NOON, {"status": "ok"})
    assert due.nothing_due(coast.settings, coast.state, PLAN, later)
    set_mark(main.state, STORED, "spot_eur_mwh", NOON + timedelta(minutes=5))
    assert due.nothing_due(coast.settings, coast.state, PLAN, later) is None


def test_a_site_forecasts_its_weather_and_leaves_prices_to_the_market(
    main: RunContext, coast: RunContext
) -> None:
    furnish(main, NOON, days=35, quarters=True)
    predict(coast, 2)
    stored = coast.store.read_forecasts(
        "spot_eur_mwh", places=("ES",), start=NOON, end=NOON + timedelta(days=2)
    )
    assert stored.empty
    assert predict(main, 2).stored


def test_plans_lie_apart(main: RunContext, coast: RunContext) -> None:
    assert documents.plans_folder(main) == main.settings.paths.data / "plans"
    assert documents.plans_folder(coast) == main.settings.paths.data / "sites" / "coast" / "plans"


@pytest.mark.parametrize(
    ("model", "names"),
    [
        pytest.param("spot_price", ["spot_price"] * 2 + ["lisbon-spot_price"] * 2, id="market"),
        pytest.param("score", ["score", "coast-score", "lisbon-score", "porto-score"], id="site"),
    ],
)
def test_a_model_is_called_by_its_site_and_a_price_model_by_its_market(
    main: RunContext, model: str, names: list[str]
) -> None:
    contexts = [
        RunContext(site, main.state, main.store, main.clock, NOON, "test")
        for site in map(main.settings.for_site, main.settings.site_ids)
    ]
    assert [registered_name(ctx, model) for ctx in contexts] == names


def test_a_backup_holds_the_state_of_every_site(main: RunContext, coast: RunContext) -> None:
    set_mark(coast.state, "job", PLAN, NOON, {"status": "ok"})
    backup.take_backup(main)
    set_mark(coast.state, "job", "other", NOON)
    restored = backup.restore_backup(main.settings, main.clock)
    with open_state(coast.settings, read_only=True) as state:
        assert get_marks(state, "job").keys() == {PLAN}
    assert restored.aside is not None
    assert (restored.aside / "coast" / "state.db").exists()


def test_a_further_site_maintains_what_is_its_own(coast: RunContext) -> None:
    result = maintain(coast)
    assert result.status == "ok"
    assert list(result["steps"]["step"]) == ["runs", "reports", "state", "logs"]


def test_growth_is_that_of_the_installation(main: RunContext, coast: RunContext) -> None:
    main.settings.paths.registry.mkdir(parents=True)
    main.settings.paths.mlflow_db.write_bytes(bytes(2_000_000))
    of_main, of_coast = (growth.measure(ctx.settings) for ctx in (main, coast))
    assert of_coast == of_main
    assert of_main.databases >= 2.0


def test_cron_calls_every_site(first: Settings, home: Path) -> None:
    assert all("--site all" in line for line in cron.job_lines(first))
    alone = structs.replace(first, sites={})
    assert not any("--site" in line for line in cron.job_lines(alone))


def test_each_site_has_pages_and_its_links_stay_there(first: Settings) -> None:
    client = Client(make_app(Reading("live")))
    try:
        page = client.get("/site/coast/data").text
        assert "<b>coast</b>" in page
        assert 'href="/site/coast/plan' in page
        assert 'href="/static' not in page
        assert client.get("/site/coast/static/style.css").status_code == 200
        assert client.get("/site/madrid/").status_code == 404
        assert client.get("/site/madrid").status_code == 404
        for path in filter(lambda path: "{" not in path, pages.PAGES):
            own, main = (client.get(f"{root}{path}") for root in ("/site/coast", ""))
            assert own.status_code == main.status_code, path
        for query in ("", "?lang=es"):
            answer = client.get(f"/site/coast{query}")
            assert answer.headers["location"] == f"/site/coast/{query}"
        assert "<b>Linares</b>" in client.get("/data").text
    finally:
        client.close()


def test_times_of_a_site_are_those_of_its_own_zone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = '[sites.island.plant]\ntime_zone = "Atlantic/Canary"'
    for name, value in with_sites(home, tables).items():
        monkeypatch.setenv(name, value)
    main = factory_settings.load("live")
    first = next(iter(weekly_orders(main.plant, NOON.date(), NOON.date()))).due
    island = main.for_site("island")
    for at in (
        datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 23, 30, tzinfo=UTC),
    ):
        with open_context(settings=island, as_of=at, clock=SimulatedClock(at)) as ctx:
            local = at.astimezone(ZoneInfo("Atlantic/Canary"))
            assert overrides.local_time(at) == f"{local:%a %-d %b %H:%M}"
            assert Words("en").clock(at) == f"{local:%H:%M}"
            begin, end = daily.view(ctx, local.date() + timedelta(days=1), 1)
            assert end.astimezone(local.tzinfo).time() == time()
            assert begin.astimezone(local.tzinfo).time() == island.plant.lead_in
        assert Words("en").clock(at) == f"{at.astimezone(MADRID):%H:%M}"
    due = next(iter(weekly_orders(island.plant, NOON.date(), NOON.date()))).due
    assert due - first == timedelta(hours=1)
    monkeypatch.setattr(index, "write_index", lambda *_, **__: display_zone())
    assert main_command(["index", "--site", "island"]) == 0
    assert capsys.readouterr().out.strip() == "Atlantic/Canary"
    assert Reading("live", "island").get("zone", lambda _: display_zone()) == island.plant.zone
    warning = "its periods are hours of Europe/Madrid, the shifts those of Atlantic/Canary"
    assert warning in describe_plant(island)
    assert warning not in describe_plant(main)
