"""The sentence that the first page opens with."""

from dataclasses import dataclass

import pandas as pd

from factory_lib.service.facts import Today
from factory_lib.views.words import Words

LEAST_EUR = 0.5
NEAR = pd.Timedelta(hours=1)  # the advice begins with the next whole hour


@dataclass(frozen=True)
class State:
    """The worst that is true now, the next start and its saving; ``rest`` counts what else is."""

    level: str
    worst: str
    coming: str
    saving: str
    rest: int


def state_sentence(now: Today, words: Words) -> State:
    """Return the worst that is true now, then the next thing that happens."""
    findings = [*_alerts(now, words), *_late(now, words), *_failing(now, words)]
    if now.price_now is None:
        findings.append(words("no_price"))
    if not now.has_weather:
        findings.append(words("no_weather"))
    worst = findings[0] if findings else words("well")
    return State(now.level, worst, _coming(now, words), _saving(now, words), len(findings[1:]))


def _alerts(now: Today, words: Words) -> list[str]:
    return [words.alert(alert["topic"], alert["entity"]) for alert in now.alerts]


def _late(now: Today, words: Words) -> list[str]:
    if now.late.empty:
        return []
    first = now.late.sort_values("behind_h", ascending=False).iloc[0]
    what = words.name(str(first["series"]))
    if len(now.late) > 1:
        return [words("late_more", what=what, n=len(now.late) - 1)]
    return [words("late_series", what=what, hours=words.hours(float(first["behind_h"])))]


def _failing(now: Today, words: Words) -> list[str]:
    return [words("job_failing", what=words.name(job)) for job in now.failing]


def _coming(now: Today, words: Words) -> str:
    running = now.running
    following = now.next_start
    parts = []
    if running:
        stage = words.name(str(running["stage"]))
        waits = running["end"] <= now.now
        end = words.when(running["held_until"] if waits else running["end"], now.now)
        key = "waiting" if waits else "running"
        parts.append(words(key, batch=running["batch"], stage=stage, end=end))
    if following:
        key = "running_next" if running else "next_start"
        when = words.coming(following["start"], now.now)
        parts.append(words(key, batch=following["batch"], when=when))
    return "; ".join(parts) or words("no_start")


def _saving(now: Today, words: Words) -> str:
    """Return how much the next start is cheaper than one now, where both are known."""
    if now.next_start is None or now.advice.empty:
        return ""
    hour = pd.Timestamp(now.next_start["start"]).floor("h")
    costs = now.advice["cost_eur"]
    near = costs.loc[pd.Timestamp(now.now).floor("h") : pd.Timestamp(now.now) + NEAR]
    if near.empty or hour not in costs.index:
        return ""
    less = float(near.iloc[0] - costs[hour])
    if abs(less) < LEAST_EUR or less != less:
        return ""
    return words("cheaper" if less > 0 else "dearer", eur=words.euros(abs(less)))
