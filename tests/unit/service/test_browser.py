"""The pages in Chromium: no error, no sideways scroll on a phone, hover, zoom, filters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import uvicorn

from factory_lib.runs import report
from factory_lib.service import pages
from factory_lib.service.app import make_app
from factory_lib.service.reading import Reading
from factory_lib.views import tables
from tests.support.browser import PROGRAM, Browser
from tests.support.sites import with_sites
from tests.unit.service.conftest import NOW

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
]
PATHS = [path for path in pages.PAGES if "{" not in path]
PATHS += ["/?lang=es", "/runs/2026-03-18/083500Z-ml_predictions"]
INSIDE = (
    "[...document.querySelectorAll('main *')].filter((e) => e.scrollWidth > e.clientWidth + 1"
    " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map((e) => e.outerHTML)"
)
BOX = "JSON.stringify(document.querySelector('.chart .on-axis .plot').getBoundingClientRect())"


@contextmanager
def served(reading: Reading) -> Iterator[str]:
    """Serve the pages on a free port."""
    config = uvicorn.Config(make_app(reading), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def address(reading: Reading) -> Iterator[str]:
    """The service of the furnished home."""
    with served(reading) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests."""
    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_fits_a_phone_and_says_no_error(browser: Browser, address: str, path: str) -> None:
    browser.errors.clear()
    browser.resize(390)
    browser.open(address + path)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run(INSIDE) == []
    assert browser.run("document.querySelectorAll('h1').length") == 1
    names = browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(names) == len(set(names))
    assert browser.errors == []


def test_a_wide_table_of_a_report_fits_a_phone(browser: Browser, tmp_path: Path) -> None:
    text = "by the price of power, which falls after noon"
    row = {"start": NOW, "source": "open_meteo_recent", "reason": text, "error": ""}
    row |= {f"column_{n}_eur_mwh": 100.0 + n for n in range(9)}
    table = tables.table(pd.DataFrame([row] * 30), "All that is known").html
    page = tmp_path / "report.html"
    head = f'<meta name="viewport" content="width=device-width"><style>{report.stylesheet()}'
    page.write_text(f"<!DOCTYPE html>{head}</style><main>{table}", encoding="utf-8")
    browser.resize(390)
    browser.open(page.as_uri())
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run(INSIDE) == []
    named = "getComputedStyle(document.querySelector('td:nth-child(5)'), '::before').content"
    assert browser.run(named) == '"column 0 (€/MWh) "'


def test_hover_shows_the_values_of_the_slot(browser: Browser, address: str) -> None:
    browser.resize(1400)
    browser.open(f"{address}/")
    box = json.loads(browser.run(BOX))
    readout = "document.querySelector('.chart .readout').textContent"
    before = browser.run(readout)
    browser.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
    after = browser.run(readout)
    assert before != after
    assert "€/MWh" in after
    assert "Thu 19" in after.replace("\N{NO-BREAK SPACE}", " ")
    browser.run("document.querySelector('.chart .canvas').focus()")
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert browser.run(readout) != after


def test_a_part_is_enlarged_by_dragging_and_back_by_the_button(
    browser: Browser, address: str
) -> None:
    browser.resize(1400)
    browser.open(f"{address}/")
    box = json.loads(browser.run(BOX))
    y = box["y"] + 30
    left, right = (box["x"] + box["width"] * share for share in (0.25, 0.5))
    browser.move(left, y, "mousePressed", button="left", clickCount=1)
    browser.move(right, y, button="left")
    browser.move(right, y, "mouseReleased", button="left", clickCount=1)
    view = "document.querySelector('.chart svg').getAttribute('viewBox')"
    x, _, width, _ = map(float, browser.run(view).split())
    assert (x, width) == (pytest.approx(250, abs=3), pytest.approx(250, abs=3))
    browser.run("document.querySelector('.chart .whole').click()")
    assert browser.run(view) == "0 0 1000 100"


def test_runs_are_filtered_by_the_form(browser: Browser, address: str) -> None:
    browser.resize(1400)
    browser.open(f"{address}/runs")
    browser.run(
        "const job = document.querySelector('select[name=job]'); job.value = 'gap_analysis';"
        "job.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    for _ in range(100):
        if "job=gap_analysis" in browser.run("location.search"):
            break
        time.sleep(0.05)
    time.sleep(0.2)
    assert browser.run("document.querySelectorAll('.list li').length") == 30


def test_tabs_and_sites_stand_in_one_line(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in with_sites(tmp_path).items():
        monkeypatch.setenv(name, value)
    browser.resize(1400)
    with served(Reading("demo")) as url:
        browser.open(f"{url}/runs")
        middles = browser.run(
            "[...document.querySelectorAll('.top > *')].map((part) => part.getBoundingClientRect())"
            ".map((box) => (box.top + box.bottom) / 2)"
        )
    assert len(middles) == 3
    assert max(middles) - min(middles) < 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, address: str, dark: bool) -> None:
    browser.resize(1400, dark=dark)
    browser.open(f"{address}/")
    pairs = browser.run(
        "(() => { const css = getComputedStyle(document.documentElement);"
        "const v = (n) => css.getPropertyValue('--' + n).trim();"
        "const names = ['ink', 'ink2', 'link', 'ok', 'watch', 'act'];"
        "return names.map((n) => [n, v(n), v('card')]); })()"
    )
    for name, colour, ground in pairs:
        assert contrast(colour, ground) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours written ``#rrggbb`` (WCAG 2)."""
    lights = sorted((luminance(one), luminance(other)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
