"""Pages: summary lines, tables that show unknown as unknown, charts of what they are given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from factory_lib import views
from factory_lib.clock import displayed_in
from factory_lib.results import METRICS_MIME, JobResult
from factory_lib.views import (
    drawing,
    learning_charts,
    palette,
    plan_charts,
    series_charts,
    tables,
    timeline,
)
from factory_lib.views.page import prose
from factory_lib.views.words import MINUS, Words
from tests.support import html_rules

NOW = datetime(2026, 7, 15, 10, 0, tzinfo=UTC)
HOURS = pd.date_range("2026-03-28T23:00", periods=48, freq="h", tz="UTC", unit="s", name="start")


@dataclass(frozen=True)
class Context:
    profile: str = "demo"
    as_of: datetime = NOW
    site_name: str = "Marchena"
    simulated: bool = True


@pytest.mark.parametrize(
    ("hours", "shown"), [(12, ["Thu 13"]), (25, ["Thu 13"]), (3, ["Wed 12", "Thu 13"])]
)
def test_the_names_of_two_days_do_not_lie_on_each_other(hours: int, shown: list[str]) -> None:
    begin = datetime(2025, 11, 12, 23, tzinfo=UTC)  # the market's midnight, 23:00 in Lisbon
    with displayed_in(ZoneInfo("Europe/Lisbon")):
        axis = timeline.TimeAxis(begin, begin + timedelta(hours=hours))
        names = timeline.day_names(axis, Words("en"))
    assert re.findall(r"\w{3}\s\d\d", names.replace("\xa0", " ")) == shown


@pytest.mark.parametrize(
    ("low", "high"), [(3, 14.5), (0, 1.1), (0, 0.003), (1013.2, 1015.1), (-40, -0.1), (0, 120_000)]
)
def test_the_values_of_an_axis_are_those_of_its_lines(low: float, high: float) -> None:
    scale = timeline.scale_of(pd.Series([low, high]))
    assert scale.low <= low < high <= scale.high
    assert len(scale.ticks) <= 8, "the range decides how many there are, not how high it lies"
    labels = re.findall(r"top:[^<]*>([^<]*)</span>", timeline.value_labels(scale, Words("en"), ""))
    values = [float(label.replace(",", "").replace(MINUS, "-")) for label in labels]
    assert values == pytest.approx(scale.ticks[:-1])


def test_a_summary_carries_its_metrics_into_the_record() -> None:
    result = JobResult("warn", "3 < 4 slots are missing.", {"missing": 3, "mlflow_run_id": "abc"})
    bundle = views.summary(result)._repr_mimebundle_()
    metrics = {"summary": result.summary, "level": "warn", "missing": 3, "mlflow_run_id": "abc"}
    assert bundle[METRICS_MIME] == metrics
    assert "3 &lt; 4 slots" in bundle["text/html"]


@pytest.mark.parametrize(
    ("simulated", "shown"), [(True, True), (False, False)], ids=["simulated", "real"]
)
def test_a_heading_says_simulated_where_the_store_is(simulated: bool, shown: bool) -> None:
    bundle = views.heading(Context(simulated=simulated))._repr_mimebundle_()
    assert ("SIMULATED" in bundle["text/html"]) is shown
    assert "12:00 in Marchena (2026-07-15 10:00Z)" in bundle["text/html"]
    assert bundle[METRICS_MIME] == {"simulated": simulated}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(float("nan"), "–", id="unknown is not zero"),
        pytest.param(None, "–", id="none"),
        pytest.param(pd.NaT, "–", id="no time"),
        pytest.param(0.0, "0.00", id="zero is zero"),
        pytest.param(-12.345, "−12.35", id="negative"),
        pytest.param(-0.001, "0.00", id="no negative zero"),
        pytest.param(1234567, "1,234,567", id="thousands"),
        pytest.param(pd.Timestamp("2026-07-15T10:00Z"), "Wed 15 Jul 12:00", id="local time"),
        pytest.param(True, "yes", id="bool"),
    ],
)
def test_values_are_shown_for_people(value: Any, shown: str) -> None:
    assert tables.format_value(value) == shown


def test_units_come_out_of_the_name() -> None:
    assert tables.label("spot_eur_mwh") == "spot (€/MWh)"
    assert tables.label("energy_cost_index") == "energy cost index"
    assert tables.unit_of("temperature_c") == "°C"


def test_a_long_table_says_how_much_it_leaves_out() -> None:
    shown = views.table(pd.DataFrame({"n": range(100)}), "Numbers", limit=5)
    assert "first 5 of 100" in shown.html
    assert shown.html.count("<tr>") == 6


def test_an_empty_table_says_none_and_html_is_escaped() -> None:
    assert "none" in views.table(pd.DataFrame({"a": []}), "Gaps").html
    assert "<b>" not in views.table(pd.DataFrame({"a": ["<b>"]}), "x").html


def test_commands_in_remarks_and_captions_are_code() -> None:
    remark = "Run `factory gaps` where a < b."
    code = "Run <code>factory gaps</code> where a &lt; b."
    assert code in views.notes([remark]).html
    assert code in tables.table(pd.DataFrame(), remark).html
    assert remark in views.notes([remark]).text


def test_a_column_says_its_zone_and_rounds_to_what_its_unit_deserves() -> None:
    start = pd.DatetimeIndex(["2026-01-15T12:00:00Z"]).as_unit("s")
    row = {
        "start": start,
        "cost_eur": [40.3449],
        "temperature_c": [21.26],
        "mae_eur_mwh": [7.1249],
        "share": [0.1239],
    }
    html = views.table(pd.DataFrame(row), decimals=3).html
    for words in (
        "start (local time)",
        'title="2026-01-15T12:00:00+00:00">Thu 15 Jan 13:00<',
        ">40<",
        ">21.3<",
        ">7.1<",
        ">0.124<",
    ):
        assert words in html


def test_gaps_of_the_same_hours_share_a_row() -> None:
    same = {
        "place": "ES",
        "start": HOURS[0],
        "end": HOURS[2],
        "duration_h": 2.0,
        "severity": "minor",
        "state": "missing",
    }
    names = ["temperature_c", "humidity_pct", "wind_speed_ms"]
    shown = views.gaps(pd.DataFrame([{**same, "series": name, "slots": 2} for name in names]))
    assert "Temperature and 2 more" in shown.html
    assert shown.html.count("<tr>") == 2


def test_a_price_chart_draws_a_panel_per_unit_and_keeps_holes() -> None:
    frame = pd.DataFrame(
        {
            "spot_eur_mwh": np.where(np.arange(48) == 7, np.nan, -1.0),
            "pvpc_eur_mwh": 2.0,
            "temperature_c": 3.0,
        },
        index=HOURS,
    )
    figure = series_charts.lines(frame, "Prices", now=NOW)
    assert [axes.get_ylabel() for axes in figure.axes] == ["€/MWh", "°C"]
    spot = figure.axes[0].patches[0]
    assert isinstance(spot, StepPatch)
    drawn = spot.get_data()
    assert np.isnan(drawn.values[7])
    assert len(drawn.edges) == len(drawn.values) + 1 == 49


def test_no_line_crosses_a_day_without_rows() -> None:
    quarters = pd.date_range("2025-10-01", periods=300, freq="15min", tz="UTC")
    hours = pd.date_range("2025-09-25", "2025-10-01", freq="h", tz="UTC", inclusive="left")
    index = hours.append(quarters)
    complete = pd.DataFrame({"actual": 1.0, "p50": 2.0}, index=index)
    assert drawing.split_at_gaps(complete).equals(complete)
    for day in ("2025-09-28", "2025-10-02"):
        rows = complete[index.strftime("%Y-%m-%d") != day]
        split = drawing.split_at_gaps(rows)
        breaks = split.index[split["p50"].isna()]
        assert breaks.strftime("%Y-%m-%d").tolist() == [day]
        axes = learning_charts.forecast(rows, unit="€/MWh", title="Price").axes[0]
        for line in axes.lines:
            assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).sum() == 1
        figure = series_charts.lines(rows.rename(columns={"p50": "spot_eur_mwh"}), "Price")
        assert np.isnan(figure.axes[0].patches[0].get_data().values).sum() == 1


QUARTERS = pd.date_range("2026-03-28T13:00Z", periods=136, freq="15min", unit="s", name="start")
PRICES = pd.DataFrame(
    {
        "p10": -5.0,
        "p50": np.linspace(-2, 60, 136),
        "p90": 70.0,
        "period": np.where(np.arange(136) < 40, "P6", "P1"),
        "known": np.where(np.arange(136) < 44, "published", "forecast"),
    },
    index=QUARTERS,
)
STAGES = pd.DataFrame(
    {
        "batch": 1,
        "kg": 200.0,
        "product": "standard",
        "stage": ["mixing", "conching"],
        "start": [QUARTERS[60], QUARTERS[64]],
        "end": [QUARTERS[64], QUARTERS[84]],
        "held_until": [QUARTERS[64], QUARTERS[90]],
    }
)
LOADS = pd.DataFrame(
    {"production_kw": 160.0, "base_kw": 15.0, "import_kw": 175.0, "excess_kw": 25.0},
    index=QUARTERS,
)


def words(axes: Any) -> set[str]:
    return {text.get_text() for text in [*axes.get_legend().get_texts(), *axes.texts]}


def test_a_line_of_one_point_or_of_none_is_drawn() -> None:
    with drawing.chart("one", 1.0) as (made, (axes,)):
        axes.plot([1.0], [2.0])
        axes.plot([1.0, np.nan, 3.0, np.nan], [2.0, 1.0, 2.0, 1.0])
        axes.plot([np.nan], [np.nan])
    assert "<svg" in made._repr_mimebundle_()["text/html"]


def test_a_gantt_names_stages_holding_periods_and_how_prices_are_known() -> None:
    figure = plan_charts.gantt(STAGES, PRICES)
    assert figure.finding.startswith("One batch, the first from ")
    bars, curve = figure.axes
    assert words(bars) == {"mixing", "conching", "held"}
    assert [label.get_text() for label in bars.get_yticklabels()] == ["1: 200 kg standard"]
    assert words(curve) == {"8 in 10", "published", "expected", "P6", "P1"}
    assert curve.get_ylabel() == "€/MWh"


def test_power_above_the_contract_is_marked_and_within_it_not() -> None:
    over = plan_charts.power(LOADS, 150.0).axes[0]
    assert {"above the contract", "contract 150 kW"} <= words(over)
    within = plan_charts.power(LOADS.assign(excess_kw=0.0), 200.0).axes[0]
    assert "above the contract" not in words(within)


def test_where_there_is_no_plan_the_charts_say_so_and_show_the_price() -> None:
    bars, curve = plan_charts.gantt(STAGES[:0], PRICES).axes
    assert [text.get_text() for text in bars.texts] == ["no batch"]
    assert len(curve.patches) >= 2


def test_a_shift_sheet_says_what_to_do_when_in_the_language_of_the_shift() -> None:
    steps = STAGES.assign(
        machine=["mixer", "conche"],
        people=[1, 0],
        begun=False,
        latest_start=[QUARTERS[60], QUARTERS[66]],
    )
    spanish = views.shift_sheet(Context(), steps, "es").text.splitlines()
    assert spanish[0] == "Hoja de turno"
    assert "Mezclar lote 1 (standard, 200 kg) en mezcladora, 1 persona" in spanish[1]
    english = views.shift_sheet(Context(), steps, "en").text.splitlines()
    assert "no later than" not in english[1]
    assert "no later than" in english[2]
    assert "hold until" in english[2]
    nothing = views.shift_sheet(Context(), steps[:0], "en")
    assert nothing.text.splitlines()[1] == "Nothing to start."
    assert "Nothing to start." in nothing.html
    named = views.shift_sheet(Context(), steps[:0], "en", "2025-11-20")
    assert "Nothing to start by the end of Thursday 20 November." in named.text
    assert "Nada que empezar hasta el fin del jueves 20 de noviembre." in (
        views.shift_sheet(Context(), steps[:0], "es", until="2025-11-20").html
    )


def test_a_shift_sheet_is_one_table_in_local_times_that_marks_what_is_on_time() -> None:
    steps = STAGES.assign(
        machine=["mixer", "<b>conche"],
        people=[1, 0],
        begun=False,
        latest_start=[QUARTERS[60], QUARTERS[66]],
    )
    html = views.shift_sheet(Context(), steps, "es").html
    assert "1 lote, 200 kg" in html
    assert html.count("◆ <span>") == 1
    assert '<td class="at">06:00</td>' in html
    assert "&lt;b&gt;conche" in html
    assert html.count('class="alone"') == 1
    assert 'lang="es"' in html


CLASSES = ["Optimal", "Moderate", "Reduced", "Halt Production"]


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(
            lambda: series_charts.calendar(
                pd.DataFrame(
                    {"a": [1.0, 0.5, np.nan]}, index=pd.date_range("2026-01-01", periods=3)
                )
            ),
            id="calendar",
        ),
        pytest.param(
            lambda: series_charts.recovery(
                pd.DataFrame({"missing": [4], "recovered": [3]}, index=["ree"])
            ),
            id="recovery",
        ),
        pytest.param(
            lambda: learning_charts.fold_scores(
                pd.DataFrame({"model": [1, 2], "naive": [2, 3]}), metric="MAE", title="t"
            ),
            id="folds",
        ),
        pytest.param(
            lambda: learning_charts.forecast(
                pd.DataFrame(
                    {"p10": 1.0, "p50": 2.0, "p90": 3.0, "actual": 2.5, "naive": 2.0}, index=HOURS
                ),
                unit="u",
                title="t",
            ),
            id="forecast",
        ),
        pytest.param(
            lambda: learning_charts.confusion_matrix(
                pd.DataFrame(np.eye(4, dtype=int), index=CLASSES, columns=CLASSES)
            ),
            id="confusion",
        ),
        pytest.param(
            lambda: learning_charts.importances({"a": 0.5, "b": 0.2}, "t"), id="importances"
        ),
        pytest.param(
            lambda: series_charts.lines(pd.DataFrame({"spot_eur_mwh": 2.0}, index=HOURS), "t"),
            id="lines",
        ),
        pytest.param(
            lambda: series_charts.distribution(
                pd.Series(np.arange(48.0)), pd.DataFrame(), unit="u", title="t"
            ),
            id="distribution",
        ),
        pytest.param(
            lambda: series_charts.months_by_hour(
                pd.DataFrame({("conching", "Jan"): [0.1] * 24, ("conching", "Jul"): 0.9}), "t"
            ),
            id="months",
        ),
        pytest.param(lambda: plan_charts.gantt(STAGES, PRICES), id="gantt"),
        pytest.param(lambda: plan_charts.power(LOADS, 150.0), id="power"),
        pytest.param(
            lambda: learning_charts.recommendations(
                pd.Series(pd.Categorical(CLASSES * 12), index=HOURS), "t"
            ),
            id="hours",
        ),
    ],
)
def test_charts_can_be_drawn(figure: Any) -> None:
    drawn = figure()
    assert isinstance(drawn, Figure)
    drawn.draw_without_rendering()
    assert drawn.axes[0].get_title(loc="left")
    shown = drawn._repr_mimebundle_()["text/html"]
    assert shown.count("<svg") == 2, "one for a desk, one for a phone"
    assert f'role="img" aria-label="{escape(drawn.finding)}"' in shown
    assert re.search(r"\d", drawn.finding), "the finding is composed from the data"
    assert drawn.finding.endswith(".")
    assert html_rules.faults(f'<html lang="en"><h1>x</h1>{shown}') == []
    ids = re.findall(r' id="([^"]+)"', shown)
    assert set(re.findall(r"(?:url\(#|href=\"#)(\w+)", shown)) <= set(ids)
    assert not re.search(r":\s*#[0-9a-f]{6}", shown), "every colour is the palette's"
    assert "font-family" not in shown
    assert "DejaVu" not in shown


def test_where_there_is_no_value_a_chart_says_so() -> None:
    none = pd.Series([], dtype=float)
    figure = series_charts.distribution(none, pd.DataFrame(), unit="u", title="t")
    assert figure.finding == "There is nothing to show."


def test_a_legend_has_what_is_drawn_in_the_shade_in_which_it_is() -> None:
    frame = pd.DataFrame({"p10": 1.0, "p50": 2.0, "p90": 3.0, "actual": 2.0}, HOURS)
    key = r'opacity:([\d.]+)"></i> 8 in 10|> (forecast|actual)</span>'
    found = []
    for row in (frame, frame.assign(p10=np.nan, p50=np.nan, p90=np.nan)):
        figure: Any = learning_charts.forecast(row, unit="€/MWh", title="t")
        found.append(re.findall(key, figure._repr_mimebundle_()["text/html"]))
    assert found == [[("0.18", ""), ("", "forecast"), ("", "actual")], [("", "actual")]]


def test_what_is_held_is_seen_on_the_ground_of_every_period() -> None:
    figure = plan_charts.gantt(STAGES, PRICES)
    held = next(c for c in figure.axes[0].containers if c.get_label() == "held")
    (colour,) = {to_hex(bar.get_facecolor()) for bar in held}
    names = {code: name for name, code in palette.LIGHT.items()}
    for colours in (palette.LIGHT, palette.DARK):
        over, under = (np.array(to_rgb(colours[name])) for name in ("ink2", "card"))
        for share in plan_charts._SHADES.values():
            ground = to_hex(share * over + (1 - share) * under)
            assert contrast(colours[names[colour]], ground) >= 3.0


def test_every_candidate_of_a_fold_has_a_line_of_its_own() -> None:
    names = ["model", "rule over the forecasts", "same hour yesterday", "last value"]
    figure = learning_charts.fold_scores(
        pd.DataFrame(np.ones((3, 4)), columns=names), metric="MAE", title="t"
    )
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == names
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == 4


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_texts_and_classes_stand_out_from_every_ground(colours: dict[str, str]) -> None:
    for ground in ("bg", "card", "wash"):
        for text in ("ink", "ink2", "link", "ok", "watch", "act"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for area in ("market", "opt", "red", "halt"):
        assert contrast(colours[area], colours["card"]) >= 3.0, area


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_counts_of_a_confusion_matrix_stand_out_from_their_cells(colours: dict[str, str]) -> None:
    counts = pd.DataFrame([[n, 100 - n] for n in range(0, 101, 5)])
    (axes,) = learning_charts.confusion_matrix(counts).axes
    names = {colour: name for name, colour in palette.LIGHT.items()}
    assert len(axes.texts) == counts.size
    for text in axes.texts:
        cell = next(c for c in axes.patches if c.get_path().contains_point(text.get_position()))
        colour = colours[names[to_hex(text.get_color())]]
        over = np.array(to_rgb(colours[names[to_hex(cell.get_facecolor())]]))
        under = np.array(to_rgb(colours["card"]))
        share = cell.get_alpha()
        ground = to_hex(share * over + (1 - share) * under)
        assert contrast(colour, ground) >= 4.5, (text.get_text(), share)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours written ``#rrggbb`` (WCAG 2)."""
    lights = sorted(map(luminance, (one, other)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(colour: str) -> float:
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_small_numbers_among_large_ones_are_not_shown_as_zero():
    frame = pd.DataFrame({"highest": [0.1234, 100.0, 97.0, 0.0, 1e-12]})
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", tables.table(frame).html)
    assert cells == ["0.123", "100", "97", "0", "0"]


def test_every_name_of_a_list_is_shown_in_words():
    frame = pd.DataFrame({"series": ["spot_eur_mwh, pvpc_eur_mwh", "temperature_c"]})
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", tables.table(frame).html)
    assert cells == ["Market price, Regulated price", "Temperature"]


def test_a_provider_is_named_in_words_and_an_address_stays_as_it_is() -> None:
    shown = prose("esios, omie can have nothing new; apidatos.ree.es, `SOURCE=ree`, ree.")
    words = re.sub(r"<[^>]+>", "", shown)
    assert words == "ESIOS, OMIE can have nothing new; apidatos.ree.es, SOURCE=ree, REE."
