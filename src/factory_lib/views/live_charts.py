"""The charts of the live page: frames in, HTML out; all share ``views.timeline``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import display_zone
from factory_lib.views import timeline
from factory_lib.views.page import prose
from factory_lib.views.palette import RECOMMENDATION
from factory_lib.views.timeline import Readout, Scale, TimeAxis
from factory_lib.views.words import Words, text

SLOT = timedelta(minutes=15)
HOUR = timedelta(hours=1)
PUBLISHED = "published"
KNOWN = {PUBLISHED: "published", "forecast": "forecast", "same hour a week earlier": "week_earlier"}
CLASS_HEIGHT = {"Optimal": 100, "Moderate": 72, "Reduced": 46, "Halt Production": 22}
CHARACTER = 5.8  # of 1000: mean width of one in a bar
LEAST_LABEL = 26.0  # of 1000: a narrower bar has no room for a word
LABEL_ROOM = 170.0  # of 1000: what a window's label takes on a phone
COMPLETE, NEARLY, PARTLY = 0.9999, 0.9, 0.3
MOST_NAMED = 3


@dataclass(frozen=True)
class Board:
    """Content of the chart of a stretch of days.

    Attributes
    ----------
    prices : DataFrame
        UTC quarters; ``price_eur_mwh``, ``toll``, ``low``, ``high``, ``issued``, ``known``,
        ``period``.
    windows : sequence of mapping
        ``hours``, ``start``, ``end``, ``price_eur_mwh``.
    stages : DataFrame
        ``batch``, ``kg``, ``stage``, ``people``, ``start``, ``end``, ``held_until``.
    advice : DataFrame
        UTC hours; ``cost_eur``, ``regret_eur``, ``best_start``, ``production_recommendation``.
    order : sequence of str
        The stages in the order of work.
    """

    axis: TimeAxis
    prices: pd.DataFrame
    windows: Sequence[Mapping[str, Any]]
    stages: pd.DataFrame
    advice: pd.DataFrame
    order: Sequence[str]


def today(board: Board, words: Words, site: str) -> str:
    """Return price, cheapest hours, plan and advice of two days on one axis."""
    frame = board.prices
    axis = board.axis
    lanes = [
        timeline.lane("", "", timeline.day_names(axis, words), "axis-above"),
        timeline.lane(words("price"), words("unit_price"), price_plot(board, words), "tall"),
        timeline.lane(words("cheapest"), words("mean_price"), _windows(board, words)),
        timeline.lane(words("plan_lane"), words("plan_hint"), _strip(board, words)),
        timeline.lane(words("start_lane"), words("start_hint"), _starts(board, words)),
        timeline.lane("", "", timeline.hour_labels(axis), "axis-below"),
    ]
    published = frame["known"] == PUBLISHED
    legend = [("market", words("market")), ("toll", words("toll"))]
    legend += [] if published.all() else [("market2", words("forecast")), ("band", words("band"))]
    if frame.loc[published, "issued"].notna().any():
        legend.append(("issued-key", words("as_forecast")))
    return timeline.chart(
        axis,
        words("two_days"),
        words("whole_price", site=site),
        finding(board, words),
        lanes,
        price_readings(board, words),
        words,
        legend,
        _hours_table(board, words),
    )


def week(board: Board, words: Words, site: str) -> str:
    """Return the price of the week over a row of stages for each batch."""
    batches = [
        timeline.lane(
            words("batch_n", n=number),
            words.with_unit(rows["kg"].iloc[0], "kg"),
            f'<div class="strip low">{_bars(board, rows, words)}</div>',
            "thin",
        )
        for number, rows in board.stages.groupby("batch")
    ]
    lanes = [
        timeline.lane("", "", timeline.day_names(board.axis, words), "axis-above"),
        timeline.lane(words("price"), words("unit_price"), price_plot(board, words), "tall"),
        *batches,
    ]
    legend = [(f"s{n}", words.name(name)) for n, name in enumerate(board.order[:5], 1)]
    return timeline.chart(
        board.axis,
        words("plan_week"),
        words("plan_week_hint", site=site),
        finding(board, words),
        lanes,
        price_readings(board, words),
        words,
        [*legend, ("held", words.name("waits"))],
    )


def finding(board: Board, words: Words) -> str:
    """Return the price of now and the cheapest four hours as a sentence."""
    four = [window for window in board.windows if window["hours"] == 4]
    at = board.axis.now or board.axis.begin
    past = board.prices.loc[board.prices.index <= at, "price_eur_mwh"]
    if past.empty or not four:
        return words("finding_none")
    best = min(four, key=lambda window: float(window["price_eur_mwh"]))
    return words(
        "finding_today",
        now=words.with_unit(past.iloc[-1], "€/MWh"),
        window=f"{words.weekday(best['start'])} {words.span(best['start'], best['end'])}",
        price=words.with_unit(best["price_eur_mwh"], "€/MWh"),
    )


# -- price -------------------------------------------------------------------------------


def price_plot(board: Board, words: Words) -> str:
    """Return the whole price: toll below, market on top, the band where it is forecast."""
    frame = board.prices
    axis = board.axis
    if frame.empty:
        return f'<p class="empty">{words("no_price")}</p>'
    price = frame["price_eur_mwh"]
    published = frame["known"] == PUBLISHED
    scale = timeline.scale_of(price, frame["low"], frame["high"], frame["toll"], zero=True)
    zero = pd.Series(0.0, frame.index)
    draw_area = partial(timeline.area, axis, scale, step=SLOT)
    band = ~published & (frame["high"] > frame["low"])
    layers = [
        _grounds(axis, frame),
        timeline.grid(scale),
        draw_area(zero, frame["toll"], css="toll"),
        draw_area(frame["toll"].where(published), price.where(published), css="market"),
        draw_area(frame["toll"].where(~published), price.where(~published), css="market2"),
        draw_area(frame["low"].where(band), frame["high"].where(band), css="band"),
        timeline.line(axis, scale, frame["issued"].where(published), SLOT, "issued halo"),
        timeline.line(axis, scale, frame["issued"].where(published), SLOT, "issued"),
        timeline.line(axis, scale, price.where(published), SLOT, "edge"),
        timeline.line(axis, scale, price.where(~published), SLOT, "edge pale"),
        timeline.ground(axis, axis.begin, axis.now, "past") if axis.now else "",
    ]
    labels = timeline.value_labels(scale, words, "") + _period_labels(axis, frame, words)
    return timeline.plot("".join(layers), labels + _now_label(board, words))


def _runs(values: pd.Series) -> list[tuple[Any, Any, Any]]:
    """Return begin, end and value of each run of equal values in quarters."""
    number = values.ne(values.shift()).cumsum()
    return [
        (part.index[0], part.index[-1] + SLOT, part.iloc[0])
        for _, part in values.astype(str).groupby(number)
    ]


def _grounds(axis: TimeAxis, frame: pd.DataFrame) -> str:
    spans = _runs(frame["period"].astype(str))
    return "".join(timeline.ground(axis, begin, end, f"g{name}") for begin, end, name in spans)


def _period_labels(axis: TimeAxis, frame: pd.DataFrame, words: Words) -> str:
    labels = []
    for begin, end, name in _runs(frame["period"].astype(str)):
        x = axis.x(begin)
        if axis.days < 4 and axis.x(end) - x >= 2 * LEAST_LABEL:
            toll = words.number(frame.loc[begin, "toll"])
            more = f" <small>+{toll}</small>"
            labels.append(timeline.bar(x, axis.x(end), "period", f"{name}{more}"))
    return "".join(labels)


def _now_label(board: Board, words: Words) -> str:
    axis = board.axis
    past = board.prices.loc[board.prices.index <= (axis.now or axis.begin), "price_eur_mwh"]
    if axis.now is None or past.empty:
        return ""
    side = "now-label left" if axis.x(axis.now) > 800 else "now-label"
    return timeline.label(
        axis.x(axis.now), f"{words('now')} <b>{words.number(past.iloc[-1])}</b>", side
    )


def price_readings(board: Board, words: Words) -> list[Readout]:
    """Return what the chart says of each quarter."""
    advice = board.advice
    hours = {} if advice.empty else advice.to_dict("index")
    index = pd.DatetimeIndex(board.prices.index)
    rows = zip(board.prices.to_dict("records"), index, index.floor("h"), strict=True)
    bodies = [_price_words(row, hours.get(hour), words, at) for row, at, hour in rows]
    return _readouts(board.axis, index, bodies, words)


def _price_words(
    row: Mapping[Any, Any], hour: Mapping[Any, Any] | None, words: Words, at: pd.Timestamp
) -> str:
    price = row["price_eur_mwh"]
    market = words.number(price - row["toll"])
    parts = [
        words.with_unit(price, "€/MWh"),
        words("market_part", market=market, toll=words.number(row["toll"])),
        words(KNOWN.get(str(row["known"]), "unknown")),
    ]
    if row["known"] != PUBLISHED and row["high"] > row["low"]:
        band = {key: words.number(row[key]) for key in ("low", "high")}
        parts.append(words("band_part", **band))
    elif row["known"] == PUBLISHED and pd.notna(row["issued"]):
        parts.append(words("was_forecast", price=words.number(row["issued"])))
    if hour:
        parts.append(_start_words(hour, words, at))
    return " · ".join(parts)


def _start_words(hour: Mapping[Any, Any], words: Words, at: pd.Timestamp) -> str:
    name = words.name(str(hour["production_recommendation"]))
    if pd.isna(hour["cost_eur"]):
        return f"{name}: {words('no_batch_fits')}"
    if pd.isna(hour["best_start"]) or hour["regret_eur"] < 0.05:
        return name
    when = words.when(hour["best_start"], at)
    return f"{name}: {words('wait_saves', when=when, eur=words.euros(hour['regret_eur']))}"


def _hours_table(board: Board, words: Words) -> str:
    """Return the price by hour."""
    hourly = board.prices["price_eur_mwh"].resample("h").mean().dropna()
    row = '<tr><td>{}</td><td class="n">{}</td></tr>'
    rows = [
        row.format(words.when(pd.Timestamp(str(at))), words.number(value))
        for at, value in hourly.items()
    ]
    head = f"<tr><th>{words('start')}</th><th class=n>{words('unit_price')}</th></tr>"
    return f'<table class="narrow"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


# -- the lanes below the price -----------------------------------------------------------


def _windows(board: Board, words: Words) -> str:
    rows = []
    for hours in dict.fromkeys(window["hours"] for window in board.windows):
        row = [window for window in board.windows if window["hours"] == hours]
        bars = []
        taken = 1000.0  # what lies to the right begins here
        for window in reversed(row):
            x = board.axis.x(window["start"])
            right = board.axis.x(window["end"])
            before = taken - right < LABEL_ROOM <= x
            taken = x - LABEL_ROOM if before else x
            mean = words.number(window["price_eur_mwh"])
            side = "before" if before else "after"
            name = f'<i class="{side}">{words.hours(hours)} <b>{mean}</b></i>'
            bars.append(timeline.bar(x, right, "window", name))
        rows.append(f'<div class="window-row">{"".join(reversed(bars))}</div>')
    return "".join(rows)


def _strip(board: Board, words: Words) -> str:
    """Return the stages of all batches in one row, the batch named above its first stage."""
    axis = board.axis
    shown = board.stages[
        (board.stages["held_until"] > axis.begin) & (board.stages["start"] < axis.end)
    ]
    if shown.empty:
        return f'<p class="empty">{words("no_start")}</p>'
    names = []
    for number, rows in shown.groupby("batch"):
        kg = words.with_unit(rows["kg"].iloc[0], "kg")
        x = axis.x(rows["start"].min())
        side = "batch left" if x > 850 else "batch"
        names.append(
            timeline.label(x, f"<b>{words('batch_n', n=number)}</b><small> · {kg}</small>", side)
        )
    return f'<div class="strip">{"".join(names)}{_bars(board, shown, words)}</div>'


def _bars(board: Board, stages: pd.DataFrame, words: Words) -> str:
    axis = board.axis
    order = {name: n for n, name in enumerate(board.order)}
    bars = []
    for row in stages.to_dict("records"):
        x = axis.x(row["start"])
        right = axis.x(row["end"])
        name = words.name(str(row["stage"]))
        time = f"{words.when(row['start'])}–{words.clock(row['end'])}"
        title = f"{name}, {words('batch_n', n=row['batch'])}: {time}"
        css = f"stage s{order.get(row['stage'], 0) % 5 + 1}{' staffed' if row['people'] else ''}"
        inside = text(name) if right - x >= CHARACTER * len(name) else ""
        if right > x:
            bars.append(timeline.bar(x, right, css, inside, title))
        if row["held_until"] > row["end"]:
            bars.append(timeline.bar(right, axis.x(row["held_until"]), "stage held", "", title))
    return "".join(bars)


def _starts(board: Board, words: Words) -> str:
    axis = board.axis
    advice = board.advice
    shown = advice[(advice.index >= axis.begin) & (advice.index < axis.end)]
    if shown.empty:
        return f'<p class="empty">{prose(words("no_advice_yet"))}</p>'
    bars = []
    for at, row in shown.iterrows():
        start = pd.Timestamp(str(at))
        name = str(row["production_recommendation"])
        past = " gone" if axis.now and start + HOUR <= axis.now else ""
        height = f'<i style="height:{CLASS_HEIGHT.get(name, 0)}%"></i>'
        css = f"start {RECOMMENDATION.get(name, '')}{past}"
        title = f"{words.when(start)}: {words.name(name)}"
        bars.append(timeline.bar(axis.x(start), axis.x(start + HOUR), css, height, title))
    names = [
        timeline.bar(
            axis.x(row["start"]), axis.x(row["end"]), "class-name", text(words.name(row["name"]))
        )
        for row in map(_advice_row, _class_runs(shown))
        if axis.x(row["end"]) - axis.x(row["start"]) >= 2 * LEAST_LABEL
    ]
    return (
        f'<div class="starts">{"".join(bars)}</div><div class="class-names">{"".join(names)}</div>'
    )


def _class_runs(advice: pd.DataFrame) -> list[pd.DataFrame]:
    """Return each run of hours with one class in which a batch can begin, or none can."""
    gap = pd.DatetimeIndex(advice.index).to_series().diff().gt(HOUR).to_numpy()
    kind = advice["production_recommendation"].astype(str) + advice["cost_eur"].isna().astype(str)
    return [part for _, part in advice.groupby((kind.ne(kind.shift()) | gap).cumsum())]


def advice_rows(advice: pd.DataFrame, *, hourly: bool = False) -> list[dict[str, Any]]:
    """Return one row for each hour, or each run of hours of a local day with one class.

    Returns
    -------
    list of dict
        ``start``, ``end``, ``name``, the ``best`` hour, costs ``low`` and ``high``,
        ``saves_low`` and ``saves_high`` of waiting for ``best_start``, and ``sure``, the
        mean probability of the class; ``best`` is None and costs and savings are NaN
        where no batch can begin.
    """
    local = pd.DatetimeIndex(advice.index).tz_convert(display_zone())
    days = (day for _, day in advice.groupby(local.date))
    split = [advice.iloc[[n]] for n in range(len(advice))]
    parts = split if hourly else [part for day in days for part in _class_runs(day)]
    return [_advice_row(part) for part in parts]


def _advice_row(part: pd.DataFrame) -> dict[str, Any]:
    name = str(part["production_recommendation"].iloc[0])
    cost = part["cost_eur"]
    best_start = part["best_start"].iloc[0]
    return {
        "start": pd.Timestamp(str(part.index[0])),
        "end": pd.Timestamp(str(part.index[-1])) + HOUR,
        "name": name,
        "best": pd.Timestamp(str(cost.idxmin())) if cost.notna().any() else None,
        "low": cost.min(),
        "high": cost.max(),
        "best_start": None if pd.isna(best_start) else best_start,
        "saves_low": part["regret_eur"].min(),
        "saves_high": part["regret_eur"].max(),
        "sure": part[f"p_{name}"].mean() if f"p_{name}" in part else None,
    }


# -- series ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A line of a chart of series, or with ``to`` the band between two columns."""

    column: str
    css: str
    name: str
    to: str = ""

    @property
    def top(self) -> str:
        """The upper column of a band; a line's own."""
        return self.to or self.column


def series(
    axis: TimeAxis,
    frame: pd.DataFrame,
    layers: Sequence[Layer],
    words: Words,
    *,
    title: str,
    hint: str,
    unit: str,
    step: timedelta,
    zero: bool = False,
    decimals: int = 0,
) -> str:
    """Return lines over time; a gap stays a gap, and is hatched.

    Parameters
    ----------
    frame : DataFrame
        UTC index; the columns of the layers.
    """
    columns = {layer.column for layer in layers} | {layer.top for layer in layers}
    scale = timeline.scale_of(*(frame[name] for name in sorted(columns)), zero=zero)
    main = frame[layers[-1].column]
    drawing = [timeline.weekends(axis), timeline.grid(scale), _holes(axis, main, step)]
    drawing += [_drawn(axis, scale, frame, layer, step) for layer in layers]
    lanes = [
        timeline.lane("", "", timeline.day_names(axis, words), "axis-above"),
        timeline.lane(unit, "", _plot(drawing, scale, words), "tall"),
    ]
    if axis.days <= 2.5:
        lanes.append(timeline.lane("", "", timeline.hour_labels(axis), "axis-below"))
    bodies = [_values_words(row, layers, words, unit, decimals) for row in frame.to_dict("records")]
    readings = _readouts(axis, pd.DatetimeIndex(frame.index), bodies, words)
    figures = {"low": main.min(), "high": main.max(), "mean": main.mean()}
    shown = {key: words.with_unit(value, unit, decimals) for key, value in figures.items()}
    legend = [] if len(layers) == 1 else [(f"key {one.css}", one.name) for one in layers]
    sentence = words("finding_series", **shown)
    return timeline.chart(axis, title, hint, sentence, lanes, readings, words, legend)


def _drawn(axis: TimeAxis, scale: Scale, frame: pd.DataFrame, layer: Layer, step: timedelta) -> str:
    if layer.to:
        band = (frame[layer.column], frame[layer.to])
        return timeline.area(axis, scale, *band, step, layer.css)
    return timeline.line(axis, scale, frame[layer.column], step, layer.css)


def _plot(drawing: Sequence[str], scale: Scale, words: Words) -> str:
    return timeline.plot("".join(drawing), timeline.value_labels(scale, words, ""))


def _readouts(
    axis: TimeAxis, index: pd.DatetimeIndex, bodies: Sequence[str], words: Words
) -> list[Readout]:
    return list(map(Readout, axis.xs(index), words.whens(index), bodies))


def _values_words(
    row: Mapping[Any, Any], layers: Sequence[Layer], words: Words, unit: str, decimals: int
) -> str:
    parts = []
    for layer in layers[::-1]:
        if pd.notna(row[layer.column]):
            value = words.number(row[layer.column], decimals)
            if layer.to:
                value = f"{value}–{words.number(row[layer.to], decimals)}"
            parts.append(f"{layer.name} {value}" if len(layers) > 1 else f"{value}")
    return f"{' · '.join(parts)} {unit}" if parts else words("unknown")


def _holes(axis: TimeAxis, values: pd.Series, step: timedelta) -> str:
    """Return the hatch of the stretches between values that are further apart than a slot."""
    starts = pd.DatetimeIndex(values.dropna().index)
    holes = [
        (before + step, after) for before, after in pairwise(starts) if after - before > 1.5 * step
    ]
    return "".join(timeline.ground(axis, begin, end, "hole") for begin, end in holes)


# -- completeness ------------------------------------------------------------------------


def completeness_css(share: float) -> str:
    """Return the class of a day by the share of its due values that are there."""
    limits = {
        COMPLETE: "cell full",
        NEARLY: "cell most",
        PARTLY: "cell part",
        0.0: "cell empty-day",
    }
    return next((css for least, css in limits.items() if share >= least), "cell")  # NaN: none is


def completeness_chart(daily: pd.DataFrame, words: Words) -> str:
    """Return a row for each series and a cell for each market day.

    Parameters
    ----------
    daily : DataFrame
        Naive days; one column per series, share present, NaN where nothing is due.
    """
    days = [pd.Timestamp(str(day)).tz_localize(display_zone()) for day in daily.index]
    axis = TimeAxis(days[0].tz_convert("UTC"), (days[-1] + pd.DateOffset(days=1)).tz_convert("UTC"))
    edges = [axis.x(day) for day in days] + [timeline.WIDTH]
    lanes = [timeline.lane("", "", timeline.day_names(axis, words), "axis-above")]
    for name in daily:
        cells = [
            timeline.bar(edges[n], edges[n + 1], completeness_css(share))
            for n, share in enumerate(daily[name])
        ]
        row = f'<div class="cells">{"".join(cells)}</div>'
        lanes.append(timeline.lane(words.name(str(name)), "", row, "thin"))
    readings = [
        Readout(edges[n], words.weekday(day), _day_words(daily.iloc[n], words))
        for n, day in enumerate(days)
    ]
    share = words.percent(float(np.nanmean(daily.to_numpy(float))))
    return timeline.chart(
        axis,
        words("calendar"),
        words("calendar_hint", days=len(days)),
        words("finding_calendar", share=share, days=len(days)),
        lanes,
        readings,
        words,
    )


def _day_words(row: pd.Series, words: Words) -> str:
    """Return the series of which the day lacks most."""
    short = row[row < COMPLETE].sort_values()
    shown = [
        f"{words.name(str(name))} {words.percent(float(share))}"
        for name, share in short.head(MOST_NAMED).items()
    ]
    more = [words("more", n=len(short) - MOST_NAMED)] if len(short) > MOST_NAMED else []
    return " · ".join([*shown, *more]) or words("ok")
