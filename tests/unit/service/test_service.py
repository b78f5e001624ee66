"""The live page: every path has its code, nothing else is served, nothing is written."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sqlite3
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory_lib.cli import main
from factory_lib.errors import BadInput, StoreUnavailable
from factory_lib.monitoring import alerts
from factory_lib.runs.listing import RunList
from factory_lib.service import answers, facts, pages
from factory_lib.service.app import is_loopback, make_app, serve
from factory_lib.service.reading import Reading
from factory_lib.service.summary import state_sentence
from factory_lib.settings import ROOT
from factory_lib.views import live_charts
from factory_lib.views.live_charts import Board
from factory_lib.views.timeline import TimeAxis
from factory_lib.views.words import Language, Words
from tests.support import html_rules, service_home
from tests.support.asgi import Client
from tests.unit.service.conftest import NOW

ENDPOINTS = answers.ENDPOINTS.items()
HOUR = "?price=80&temperature=24&humidity=50"
GOOD_PATHS = [path for path in pages.PAGES if "{" not in path]
GOOD_PATHS += [path + (HOUR if "price" in each.parameters else "") for path, each in ENDPOINTS]
GOOD_PATHS += ["/health", "/metrics", "/plan.ics", "/plan.csv"]
GOOD_PATHS += ["/static/style.css", "/static/charts.js", "/static/icon.svg"]


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_every_path_is_served(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    if "etag" in answer.headers:
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", sorted(answers.ENDPOINTS))
def test_every_answer_says_when_it_is_true_and_whether_it_is_simulated(
    client: Client, path: str
) -> None:
    given_hour = "energy-optimization" in path or "production-recommendation" in path
    content = client.get(path + (HOUR if given_hour else "")).json()
    assert content["as_of"] == "2026-03-18T10:05:00Z"
    assert content["simulated"] is True
    assert "generated_at" in content
    assert all(re.fullmatch("[a-z0-9_]+", key) for key in content)


@pytest.mark.parametrize("path", sorted(answers.COMMANDS))
def test_what_acts_is_named_as_a_command(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == ""
    assert answer.json()["next_step"].startswith("Run `factory ")


def test_the_reference_map_names_every_path_that_is_served() -> None:
    page = (ROOT / "docs" / "reference-map.md").read_text(encoding="utf-8")
    section = page.partition("## Endpoints")[2].partition("## Metrics")[0]
    named = set(re.findall(r"`(/[a-z/.-]*)[?`]", section))
    served = {
        *answers.ENDPOINTS,
        *answers.COMMANDS,
        "/health",
        "/metrics",
        "/plan.csv",
        "/plan.ics",
    }
    assert served <= named
    assert named <= served | set(pages.PAGES)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ree/prices?hours=0", 400),
        ("/ree/prices?hours=nan", 400),
        ("/predict/energy-optimization?price=80", 400),
        ("/data?series=nothing", 400),
        ("/prices?days=3", 400),
        ("/runs?page=x", 400),
        ("/runs?day=yesterday", 400),
        ("/runs/2026-03-18/nothing", 404),
        ("/runs/../../data", 404),
        ("/static/../app.py", 404),
        ("/static/%2e%2e%2fapp.py", 404),
        ("/plan.exe", 404),
        ("/nothing", 404),
        ("/" + "a" * 600, 414),
        ("/?q=" + "a" * 2000, 414),
    ],
)
def test_what_cannot_be_answered_has_its_code(client: Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_no_method_but_get_and_head(client: Client, method: str) -> None:
    answer = client.request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9000", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("example.org", 400),
        ("127.0.0.1.example.org", 400),
        ("", 400),
        ("localhost:80:80", 400),
    ],
)
def test_only_the_hosts_of_the_settings(client: Client, host: str, status: int) -> None:
    assert client.get("/health", headers={"host": host}).status_code == status


def test_a_body_is_refused(client: Client) -> None:
    assert client.request("GET", "/", content=b"x" * 10_000).status_code == 413


NAMES = "etc/passwd data demo state.db run.json 2026-03-18 report.html static runs plan .env ñ"
SIGNS = r".. %2e%2e %2f %00 // ~ \ * ? #"
PIECES = st.sampled_from(f"{NAMES} {SIGNS}".split())
SECRET = re.compile(b"SQLite format|INFLUXDB|root:|\\[plant\\]|import pandas")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(PIECES | st.text(max_size=8), max_size=6),
    query=st.dictionaries(
        st.sampled_from(
            ["days", "hours", "series", "page", "q", "lang", "day", "level", "sort", "job"]
        ),
        st.text(max_size=12) | st.integers().map(str),
        max_size=3,
    ),
    base=st.sampled_from(["/", "/runs", "/data", "/prices", "/ree/prices", "/runs/", "/static/"]),
)
def test_no_request_gets_a_file_or_an_error_of_ours(
    client: Client, parts: list[str], query: dict[str, str], base: str
) -> None:
    path = quote(base + "/".join(parts), safe="/%.~*\\")
    answer = client.get(f"{path}?{urlencode(query)}")
    assert answer.status_code in (200, 304, 400, 404, 405, 414), answer.text
    assert not SECRET.search(answer.content)


def test_nothing_is_written(client: Client, served_home: Path) -> None:
    before = tree(served_home)
    for path in GOOD_PATHS:
        client.get(path)
    assert tree(served_home) == before


def tree(folder: Path) -> dict[str, Any]:
    """Return each file with its checksum and time of change."""
    return {
        str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


# -- content -----------------------------------------------------------------------------


def test_the_first_page_says_what_is_worst_and_what_comes(client: Client) -> None:
    page = client.get("/").text
    heading = re.sub(r"<[^>]+>", "", page.partition("<h1>")[2].partition("</h1>")[0])
    assert heading.startswith("Batch 1 starts today at 14:00")
    assert "OpenWeather" not in heading
    assert "AEMET does not answer." in page
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page
    assert "<code>factory doctor</code>" in page
    assert "SIMULATED" in page


def test_the_first_page_advises_on_every_hour_also_those_in_which_no_batch_can_begin(
    client: Client,
) -> None:
    page = client.get("/").text
    by_hour = page.partition("Hour by hour")[2].partition("</details>")[0]
    rows = re.findall(r"<tr><td>(.*?)</tr>", by_hour, re.DOTALL)
    hours = client.get("/dashboard/recommendations").json()["recommendations"]
    assert len(rows) == len(hours) == 30
    assert all(re.search(r"\d\xa0€</b>", row) for row in rows[:-1])
    assert "Halt" in rows[-1]
    assert "No whole batch fits" in rows[-1]


OTHERS = {
    "es": re.compile(r"\b(the|of|and|is|was|are|with|from|this|has|values)\b"),
    "en": re.compile(r"\b(el|los|las|de|del|y|es|una|con|hasta|que)\b"),
}


def test_instants_of_the_first_page_are_written_as_everywhere(client: Client) -> None:
    coming = client.get("/dashboard/summary").json()["next_start"]
    assert coming is not None
    instant = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(instant, coming["start"])
    assert re.fullmatch(instant, coming["end"])


def test_a_site_whose_weather_never_arrived_is_not_well(reading: Reading) -> None:
    words = Words("en")
    frame = facts.prices(reading)
    tables = facts.state_tables(reading)
    prices = tables["latest"]["series"].str.endswith("eur_mwh")
    bare = {**tables, "latest": tables["latest"][prices]}
    parts = ("store", "state", "plans")
    made = reading.get("bare", lambda ctx: facts._today(ctx, frame, bare), parts)
    quiet = replace(made, alerts=[], failing=[], late=made.late[:0])
    assert state_sentence(quiet, words).worst == words("no_weather")
    assert made.level != "ok"
    assert state_sentence(replace(quiet, has_weather=True), words).worst == words("well")
    assert facts.today(reading).has_weather


def test_a_batch_whose_stage_is_over_is_said_to_wait(reading: Reading) -> None:
    made = facts.today(reading)
    now = pd.Timestamp(made.now)
    stage = {"batch": 7, "stage": "conching", "end": now - pd.Timedelta(hours=1)}
    held = {**stage, "held_until": now + pd.Timedelta(hours=3)}
    state = state_sentence(replace(made, running=held), Words("en"))
    assert state.coming.startswith("Batch 7 waits after “conche” until 14:05;")
    worked = {**held, "end": now + pd.Timedelta(hours=2)}
    state = state_sentence(replace(made, running=worked), Words("en"))
    assert state.coming.startswith("Batch 7 is in “conche” until 13:05;")


def test_before_a_batch_is_finished_the_page_shows_what_the_plan_saves(client: Client) -> None:
    page = client.get("/").text
    figures = page.partition('<dl class="figures">')[2].partition("</dl>")[0]
    assert "The plan saves" in figures
    assert ">20<small>€" in figures


@pytest.mark.parametrize("language", sorted(OTHERS))
@pytest.mark.parametrize("path", [path for path in pages.PAGES if "{" not in path])
def test_a_page_is_in_one_language(client: Client, path: str, language: str) -> None:
    page = client.get(f"{path}?lang={language}").text
    assert f'<html lang="{language}">' in page
    content = page.partition("<main")[2].partition("</main>")[0]
    content = re.sub(r"(?s)<(code|style)>.*?</\1>|<[^>]+>", " ", content)
    assert OTHERS[language].findall(content) == []


@pytest.mark.parametrize("path", [*(path for path in pages.PAGES if "{" not in path), "/?lang=es"])
def test_a_page_keeps_the_rules_of_accessibility(client: Client, path: str) -> None:
    assert html_rules.faults(client.get(path).text) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<html><h1>x</h1>", "html without lang"),
        ("<h1>x</h1><img src=a>", "img without a text"),
        ("<h1>x</h1><select></select>", "select without a label"),
        ("<h1>x</h1><th></th>", "th without a text"),
        ("<h1>x</h1><h3>y</h3>", "h3 after h1"),
        ("<h1>x</h1><p id=a><p id=a>", "id a stands twice"),
    ],
)
def test_the_rules_find_faults(html: str, fault: str) -> None:
    assert html_rules.faults(html) == [fault]


def test_a_run_is_summed_up_from_its_metrics_in_spanish(client: Client) -> None:
    shown = Words("es").summary("ml_training", {"mae": 9.04, "naive_mae": 14.1, "accuracy": 0.788})
    assert shown.startswith("El índice se desvía 9,0 puntos, el de ayer a la misma hora 14,1")
    assert Words("es").summary("ml_training", {}) == ""
    own = [" values are new." in client.get(f"/runs?lang={name}").text for name in ("en", "es")]
    assert own == [True, False]


@pytest.mark.parametrize("language", get_args(Language))
def test_every_text_is_asked_for(language: Language) -> None:
    package = Path(live_charts.__file__).parents[1]
    files = [file for file in package.rglob("*") if file.suffix in {".py", ".j2"}]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    asked = set(re.findall(r"""["'](\w+)["']""", code))
    texts = tomllib.loads((package / "views/templates/live.toml").read_text(encoding="utf-8"))
    keys = {key.removesuffix("_one") for key, text in texts[language].items() if str(text) == text}
    # those of alerts and of their news are put together
    assert {key for key in keys - asked if not key.startswith(("alert_", "news_"))} == set()


def test_one_of_a_thing_is_no_plural() -> None:
    for language, words in {
        "en": ["1 run", "one hole of 2 h", "2 holes, the longest 2 h"],
        "es": ["1 ejecución", "un hueco de 2 h", "2 huecos, el más largo de 2 h"],
    }.items():
        say = Words(language)
        gaps = [say("data_sentence_gaps", n=n, hours="2 h") for n in (1, 2)]
        assert [say("n_runs", n=1), *gaps] == words
    assert [Words("es")("runs_failed", n=n) for n in (1, 2)] == ["1 fallida", "2 fallidas"]
    worth = [Words("en")("errors_worth", n=n, eur="2 €", naive="3 €") for n in (1, 2)]
    assert [text.rpartition("(")[2] for text in worth] == ["one day).", "mean of 2 days)."]


def test_the_cheapest_windows_are_the_cheapest(reading: Reading) -> None:
    frame = facts.prices(reading)
    local = frame.index.tz_convert("Europe/Madrid").date  # type: ignore[attr-defined]
    for window in facts.windows(frame, NOW):
        part = frame.loc[window["start"] : window["end"], "price_eur_mwh"].iloc[:-1]
        assert len(part) == window["hours"] * 4
        assert part.mean() == pytest.approx(window["price_eur_mwh"])
        day = frame[(frame.index >= NOW) & (local == date.fromisoformat(window["day"]))]
        means = day["price_eur_mwh"].rolling(window["hours"] * 4).mean().dropna()
        assert window["price_eur_mwh"] <= means.min() + 1e-9


def test_a_band_holds_its_median_in_every_slot(reading: Reading) -> None:
    frame = facts.prices(reading)
    assert (frame["low"] <= frame["price_eur_mwh"] + 1e-6).all()
    assert (frame["high"] >= frame["price_eur_mwh"] - 1e-6).all()


def test_the_plan_page_shows_sheet_saving_and_files(client: Client) -> None:
    page = client.get("/plan").text
    assert "500\N{NO-BREAK SPACE}kg in 2 batches for 89\N{NO-BREAK SPACE}€" in page
    assert "20\N{NO-BREAK SPACE}€ less than the same kg" in page
    assert 'class="shift-sheet"' in page
    assert client.get("/plan.ics").text.startswith("BEGIN:VCALENDAR")
    assert client.get("/plan.json").json()["plan"]["schema"] == "factory-plan/3"


def test_errors_stand_beside_the_naive_ones(client: Client) -> None:
    rows = client.get("/models/status").json()["accuracy"]
    own = next(row for row in rows if row["model"] == "factory" and row["lead_days"] == 1)
    assert own["mae"] == pytest.approx(5.0, abs=0.2)
    assert own["naive_mae"] > 0
    page = client.get("/models").text
    assert re.search(r"· [\d.]+\N{NO-BREAK SPACE}€/MWh</small>", page)


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [
        ("en", ("Trees, on the market price", "78", "−0.3\xa0%"), ("Like days", "22", "1.2\xa0%")),
        (
            "es",
            ("Árboles, sobre el precio de mercado", "78", "−0,3\xa0%"),
            ("Días parecidos", "22", "1,2\xa0%"),
        ),
    ],
)
def test_experts_stand_by_weight_with_what_each_is_worth(
    language, first, second, tmp_path, monkeypatch
) -> None:
    metrics = {
        f"{name}_expert_{each}": share
        for name, shares in (("like_days", (0.22, 0.012)), ("trees_from_the_spot", (0.78, -0.003)))
        for each, share in zip(("weight", "worth"), shares, strict=True)
    }
    service_home.write_runs(tmp_path / "runs", NOW, 1)
    made = next(tmp_path.rglob("run.json"))
    record = json.loads(made.read_text(encoding="utf-8")) | {"job": "ml_training"}
    made.write_text(json.dumps(record | {"metrics": metrics}), encoding="utf-8")
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    alone = Client(make_app(Reading("live")))
    page = alone.get(f"/models?lang={language}").text
    alone.close()
    rows = re.findall(r"<tr><td>([^<]*)</td><td[^>]*>(\d+).%</td><td[^>]*>([^<]*)</td></tr>", page)
    assert rows == [first, second]


@pytest.mark.parametrize("known", ["published", "forecast"])
def test_beside_the_errors_stands_what_they_cost_and_when_they_mean_nothing(
    known: str, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {"regret_days": 9, "regret_eur": 1.25, "naive_regret_eur": 3.5}
    frame = facts.prices(reading).assign(known=known)
    monkeypatch.setattr(pages, "_newest_metrics", lambda *_: metrics)
    monkeypatch.setattr(facts, "prices", lambda _: frame)
    alone = Client(make_app(Reading("demo")))  # pages are kept
    page = alone.get("/prices").text.replace("\N{NO-BREAK SPACE}", " ")
    alone.close()
    assert "cost 1.2 € more than at the best hour, by the naive forecast 3.5 € (mean of 9" in page
    assert ("errors of the forecast mean nothing for tomorrow" in page) == (known == "published")


@pytest.mark.parametrize(
    ("subject", "begin", "shown"),
    [
        ("standard 2025-11-20", "2025-11-20T23:00:00Z", "standard Thu 20, Fri 21"),
        ("standard 2025-11-20", None, "standard Thu 20"),
        ("refiner", "2025-11-20T19:45:00Z", "refiner, Thu 20 20:45"),
    ],
)
def test_a_wish_that_gave_way_is_named_by_its_days(
    subject: str, begin: str | None, shown: str
) -> None:
    row = pages._deviation({"subject": subject, "begin": begin}, Words("en"))
    assert row["subject"].replace("\N{NO-BREAK SPACE}", " ") == shown


def test_health_counts_the_jobs_that_ran_and_names_operations(client: Client) -> None:
    page = client.get("/status").text
    heading = page.partition("<h1>")[2].partition("</h1>")[0]
    ran, jobs, never = map(int, re.findall(r"(\d+) of (\d+) jobs .*; (\d+) have not", heading)[0])
    assert ran == jobs
    assert never > 0
    assert "Registry: log a training" in page
    assert "time_zone" not in page


def test_labels_of_windows_do_not_meet_on_a_phone() -> None:
    midnight = pd.Timestamp("2025-11-20", tz="Europe/Madrid")
    axis = TimeAxis(midnight, midnight + pd.Timedelta(days=2))
    windows = [
        {"hours": 1, "start": at, "end": at + pd.Timedelta(hours=1), "price_eur_mwh": 50.0}
        for at in (midnight + pd.Timedelta(hours=20), midnight + pd.Timedelta(hours=26))
    ]
    board = Board(axis, pd.DataFrame(), windows, pd.DataFrame(), pd.DataFrame(), [])
    sides = re.findall(r'<i class="(\w+)">', live_charts._windows(board, Words("en")))
    assert sides == ["before", "after"]


def test_metrics_follow_their_definitions(client: Client) -> None:
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['scheduler_job_success_rate{job="gap_analysis"}'] == "1.0"
    assert values['data_ingestion_rate{source="ree"}'] == "1.0"
    assert values['backfill_success_rate{source="ree"}'] == "0.8"
    assert values['api_response_time_count{host="ree"}'] == "1.0"
    assert values['api_response_time{host="ree",quantile="0.5"}'] == "0.04"
    assert float(values["gap_detection_accuracy"]) == 1.0
    names = {re.match("[a-z_]+", key)[0] for key in values}  # type: ignore[index]
    assert len({name.removesuffix("_count").removesuffix("_sum") for name in names}) >= 8


# -- runs --------------------------------------------------------------------------------


def test_runs_are_filtered_sorted_and_in_pages(client: Client) -> None:
    def listed(query: str) -> list[str]:
        section = client.get(f"/runs{query}").text.partition('<section class="card list">')[2]
        return re.findall(r"<li>", section)

    assert len(listed("")) == 100
    assert len(listed("?page=2")) == 20
    assert len(listed("?level=failed")) == 2
    assert len(listed("?job=gap_analysis")) == 30
    assert len(listed("?q=it+STOPPED")) == 2
    assert len(listed("?day=2026-03-18")) == 45
    assert listed("?page=3") == []


def test_a_run_that_ended_well_is_its_first_sentence_and_a_failed_one_says_what_to_do(
    client: Client,
) -> None:
    page = client.get("/runs").text
    assert "7 values are new." in page
    assert "revised" not in page
    assert "It stopped. Run it again." in page


@pytest.mark.parametrize(("rows", "most", "shown"), [(20, 8, 8), (3, 8, 3), (3, 0, 0), (0, 8, 0)])
def test_rows_beyond_the_first_are_folded(rows: int, most: int, shown: int) -> None:
    text = (
        '{% import "parts.html.j2" as parts with context %}'
        '{% call(row) parts.folded(rows, most, "") %}<td>{{ row }}</td>{% endcall %}'
    )
    template = pages.TEMPLATES.from_string(text)
    page = template.render(rows=list(range(rows)), most=most, t=Words("en"))
    unfolded = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert (page.count("<td>"), unfolded.count("<td>")) == (rows, shown)
    assert (f"{rows - shown} more" in page) == (rows > shown)


def test_an_hour_of_which_quarters_are_to_come_is_not_drawn_beside_its_forecast(
    client: Client,
) -> None:
    """At 11:05 the quarter of 11:00 was forecast and is known, but not the hour."""
    page = client.get("/prices").text
    _, ahead = re.findall(r'<script type="application/json">(.*?)</script>', page)
    _, slot, values = json.loads(ahead)[-1]
    assert slot.replace("\N{NO-BREAK SPACE}", " ") == "Wed 18 10:00"
    assert values.startswith("published ")


def test_the_page_of_prices_has_the_errors_of_the_price_alone(client: Client) -> None:
    page = client.get("/prices").text
    assert page.count('class="pair"') == page.count('title="spot_eur_mwh"') > 0


def test_a_report_leads_to_the_runs_before_and_after(client: Client) -> None:
    folder = "2026-03-18/083500Z-ml_predictions"
    page = client.get(f"/runs/{folder}").text
    assert "A report" in page
    assert 'href="/runs/2026-03-18/073500Z-ml_predictions"' in page
    assert 'href="/runs/2026-03-18/093500Z-ml_predictions"' in page


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("topic", get_args(alerts.Topic))
def test_every_topic_of_alerts_has_words(topic: str, language: Language) -> None:
    assert Words(language).alert(topic, "cron").endswith(".")


def test_a_report_that_the_maintenance_removed_is_not_there(
    client: Client, served_home: Path
) -> None:
    path = "/runs/2026-03-18/083500Z-ml_predictions"
    file = served_home / "runs" / "demo" / path.removeprefix("/runs/") / "report.html"
    assert client.get("/runs").status_code == 200  # which lists it with its report
    file.rename(file.with_name("removed"))
    answer = client.get(f"{path}?lang=es")
    file.with_name("removed").rename(file)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("zone", "day"), [("Europe/Madrid", "2026-03-19"), ("Atlantic/Canary", "2026-03-18")]
)
def test_a_run_is_of_its_plants_day(tmp_path: Path, zone: str, day: str) -> None:
    service_home.write_runs(tmp_path, datetime(2026, 3, 18, 23, 30, tzinfo=UTC), 1)
    assert [row.day for row in RunList(tmp_path, ZoneInfo(zone)).all()] == [day]


def test_what_others_leave_among_the_runs_hides_no_run(tmp_path: Path) -> None:
    service_home.write_runs(tmp_path, NOW, 3)
    (tmp_path / "2026-03-19").write_text("a file", encoding="utf-8")
    for name in ("noteZ-x", "996199Z-x"):
        (tmp_path / "2026-03-18" / name).mkdir()
        (tmp_path / "2026-03-18" / name / "run.json").write_text("{", encoding="utf-8")
    assert len(RunList(tmp_path).all()) == 3


def test_a_run_that_goes_on_is_read_again(reading: Reading, served_home: Path) -> None:
    rows = reading.runs.all()
    assert len(rows) == len(reading.runs.all()) == 120
    assert rows[0].started_at > rows[-1].started_at


# -- starting ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_a_public_address_needs_a_proxy(reading: Reading, host: str) -> None:
    with pytest.raises(BadInput, match="no password"):
        serve(reading, host, 8080)


def test_a_port_that_is_taken_is_said_so(reading: Reading) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"127.0.0.1:{port} cannot be served: Address already"):
            serve(reading, "127.0.0.1", port)


def test_loopback_is_this_machine() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"]))


def test_the_command_refuses_a_public_address(
    served_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(served_home))
    assert main(["serve", "--host", "0.0.0.0", "--profile", "demo"]) == 2
    assert "--behind-proxy" in capsys.readouterr().err


def test_an_empty_home_is_shown_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    empty = Client(make_app(Reading("live")))
    for path in GOOD_PATHS:
        expected = 404 if path in ("/plan.ics", "/plan.csv") else 200
        assert empty.get(path).status_code == expected, path
    assert "no plan yet" in empty.get("/").text
    empty.close()
    assert list(tmp_path.rglob("*")) == []


def test_a_store_that_is_away_is_not_ready(
    client: Client, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("The store cannot be reached.", next_step="Start it.")

    monkeypatch.setattr(reading, "get", away)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert json.loads(answer.text)["next_step"] == "Start it."
    page = client.get("/data")
    assert page.status_code == 503
    assert "The store cannot be reached." in page.text
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("error", [sqlite3.DatabaseError("damaged"), OSError(5, "I/O")])
def test_what_the_machine_refuses_is_said_without_a_traceback(
    client: Client, reading: Reading, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(reading, "get", Mock(side_effect=error))
    answer = client.get("/dashboard/alerts")
    assert answer.status_code == 503
    assert answer.json()["next_step"]
    assert client.get("/").status_code == 503
