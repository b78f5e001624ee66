"""The shift brief: a plan in plain words and local times, Spanish unless English is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Bools, Floats
from factory_lib.plan.diagnose import measured
from factory_lib.plan.schedule import costs, excess_kw, production_kw
from factory_lib.plan.solve import Plan
from factory_lib.plan.watch import Watch, spans

Language = Literal["es", "en"]
Span = tuple[pd.Timestamp, pd.Timestamp]

DAYS = {
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
STAGES_ES = {
    "mixing": "mezcla",
    "refining": "refinado",
    "conching": "conchado",
    "tempering": "templado",
    "moulding": "moldeo",
}
FAMILIES_ES = {
    "pins": "lotes fijados",
    "room": "límites de la sala",
    "machines": "máquinas",
    "operators": "operarios",
    "power": "potencia",
    "waits": "esperas entre etapas",
    "time": "plazo",
    "demand": "demanda",
}
# Of an obstacle's detail, word by word; machines and variants keep the names that the
# plant gave them.
DETAILS_ES = {
    "Mon": "lunes",
    "Tue": "martes",
    "Wed": "miércoles",
    "Thu": "jueves",
    "Fri": "viernes",
    "Sat": "sábado",
    "Sun": "domingo",
    "to": "a",
    "limit by": "límite movido en",
    "after": "tras",
    "or": "o",
    "limit": "límite",
    "any stage": "cualquier etapa",
    "operators": "operarios",
    **STAGES_ES,
}
UNITS_ES = {
    "machine-hours": "horas de máquina",
    "operator-hours": "horas de operario",
    "hours": "horas",
    "K or %": "K o %",
    "pins": "lotes",
}
WORDS = {
    "es": {
        "title": "Plan desde {begin} hasta {end}",
        "nothing": "No hay nada que producir entre {begin} y {end}.",
        "none": "NO HAY PLAN POSIBLE entre {begin} y {end}. Lo impide, y bastaría con cambiar:",
        "together": "NO HAY PLAN POSIBLE entre {begin} y {end}. Solo cambiando todo esto a la vez:",
        "unfound": "NO SE ENCONTRÓ UN PLAN a tiempo entre {begin} y {end}: repita con más tiempo.",
        "obstacle": "- {family}: {change} ({detail})",
        "blame": "Sin el encargo «{wish}» habría plan.",
        "head": "{kg:.0f} kg en {batches}, {eur} EUR ({basis}); {proof}.",
        "one": "1 lote",
        "many": "{n} lotes",
        "best": "ningún otro plan es más barato",
        "near": "ninguno mejora más de un {gap} %",
        "late": "Se agotó el tiempo de cálculo: es el mejor plan encontrado.",
        "batch": "Lote {batch} ({variant}, {kg:.0f} kg):",
        "begun": "- {stage}: en marcha desde {start}, termina {end}",
        "stage": "- {stage}: empezar {start}, termina {end}",
        "hold": ", mantener hasta {until}",
        "avoid": "Evitar: {spans}, las horas más caras.",
        "critical": "PELIGRO: la sala echa a perder el lote en {stage} {spans}.",
        "heat": "Vigilar: la sala no admite {stage} {spans}{moved}.",
        "moved": "; el plan lo ha movido",
        "index": "Vigilar: índice exterior muy bajo para el mes: {spans}; el plan consume ahí {kwh:.0f} kWh.",
        "exceptional": "Vigilar: precio excepcional {spans}; el plan consume ahí {kwh:.0f} kWh.",
        "idle": "Evitar: precio excepcional {spans}; el plan no consume nada ahí.",
        "spike": "Vigilar: precio muy alto {spans}; el plan consume ahí {kwh:.0f} kWh.",
        "excess": "Potencia: se superan los {kw:.0f} kW contratados {spans}.",
        "air": "Sin previsión de sala en {slots} periodos: ahí no se han aplicado sus límites.",
        "against": "Alternativas con los mismos kilos: {list}.",
        "unnamed": {
            "shift begin": "empezar con el turno",
            "fixed start": "hora fija",
            "greedy": "lote a lote",
        },
        "energy": "solo energía",
        "tolls": "energía y peajes",
        "span": "desde {a} hasta {b}",
        "within": "{day} de {a} a {b}",
        "day": "el {name} {number}",
    },
    "en": {
        "title": "Plan from {begin} to {end}",
        "nothing": "Nothing to produce between {begin} and {end}.",
        "none": "NO PLAN IS POSSIBLE between {begin} and {end}. In the way, any one of these changes would do:",
        "together": "NO PLAN IS POSSIBLE between {begin} and {end}. Only all of these changes together would do:",
        "unfound": "NO PLAN WAS FOUND in time between {begin} and {end}: allow more time.",
        "obstacle": "- {family}: {change} ({detail})",
        "blame": "Without the wish “{wish}” there would be a plan.",
        "head": "{kg:.0f} kg in {batches}, EUR {eur} ({basis}); {proof}.",
        "one": "1 batch",
        "many": "{n} batches",
        "best": "no other plan is cheaper",
        "near": "none is more than {gap} % cheaper",
        "late": "Time ran out: this is the best plan found.",
        "batch": "Batch {batch} ({variant}, {kg:.0f} kg):",
        "begun": "- {stage}: running since {start}, ends {end}",
        "stage": "- {stage}: begin {start}, ends {end}",
        "hold": ", hold until {until}",
        "avoid": "Avoid: {spans}, the dearest hours.",
        "critical": "DANGER: the room spoils the batch in {stage} {spans}.",
        "heat": "Watch: the room does not allow {stage} {spans}{moved}.",
        "moved": "; the plan moved it",
        "index": "Watch: outdoor index very low for the month: {spans}; the plan uses {kwh:.0f} kWh there.",
        "exceptional": "Watch: exceptional price {spans}; the plan uses {kwh:.0f} kWh there.",
        "idle": "Avoid: exceptional price {spans}; the plan uses nothing there.",
        "spike": "Watch: very high price {spans}; the plan uses {kwh:.0f} kWh there.",
        "excess": "Power: the contracted {kw:.0f} kW are exceeded {spans}.",
        "air": "No room forecast in {slots} slots: its limits were not applied there.",
        "against": "Alternatives with the same kilograms: {list}.",
        "unnamed": {
            "shift begin": "begin with the shift",
            "fixed start": "fixed hour",
            "greedy": "batch by batch",
        },
        "energy": "energy only",
        "tolls": "energy and tolls",
        "span": "from {a} to {b}",
        "within": "{day} from {a} to {b}",
        "day": "{name} {number}",
    },
}
DEAREST_SHARE = 0.9


class _Voice:
    """Words and times of one language."""

    def __init__(self, language: Language) -> None:
        self.language, self.words = language, WORDS[language]

    def say(self, key: str, **values: object) -> str:
        return str(self.words[key]).format(**values)

    def number(self, value: float, digits: int) -> str:
        return self.punctuated(f"{value:.{digits}f}")

    def punctuated(self, number: str) -> str:
        return number.translate(str.maketrans(",.", ".,")) if self.language == "es" else number

    def at(self, instant: pd.Timestamp, after: pd.Timestamp | None = None) -> str:
        """Return day and time; the time alone where the day is that of ``after``."""
        local = instant.tz_convert(MADRID)
        if after is not None and after.tz_convert(MADRID).date() == local.date():
            return time_of_day(local)
        return f"{self.day(local)}, {time_of_day(local)}"

    def day(self, local: pd.Timestamp) -> str:
        return self.say("day", name=DAYS[self.language][local.weekday()], number=local.day)

    def detail(self, text: str) -> str:
        if self.language == "en":
            return text
        words = "|".join(map(re.escape, DETAILS_ES))
        said = re.sub(rf"\b({words})\b", lambda word: DETAILS_ES[word[0]], text)
        return re.sub(r"\d[\d,.]*\d", lambda number: self.punctuated(number[0]), said)

    def stage(self, name: str) -> str:
        return STAGES_ES.get(name, name) if self.language == "es" else name

    def spans(self, found: Sequence[Span], most: int = 4) -> str:
        return "; ".join(map(self._span, found[:most])) + (" …" if len(found) > most else "")

    def _span(self, span: Span) -> str:
        a, b = (instant.tz_convert(MADRID) for instant in span)
        if a.date() == b.date():
            return self.say("within", day=self.day(a), a=time_of_day(a), b=time_of_day(b))
        return self.say("span", a=self.at(a), b=self.at(b))


def time_of_day(local: pd.Timestamp) -> str:
    """Return the time of day; an hour that the clocks show twice says which of the two."""
    wall = local.tz_localize(None)
    first, second = (
        wall.tz_localize(MADRID, ambiguous=summer, nonexistent="shift_forward")
        for summer in (True, False)
    )
    return f"{local:%H:%M}" if first == second else f"{local:%H:%M %Z}"


def brief(
    plan: Plan,
    watched: Sequence[Watch] = (),
    *,
    language: Language = "es",
    to_blame: Sequence[str] = (),
) -> str:
    """Return the brief as lines of plain text: what to start when, what to avoid, what to watch, what else there is.

    ``to_blame`` are the shift leader's wishes without any one of which there would be a
    plan.
    """
    voice, problem = _Voice(language), plan.problem
    window = {"begin": voice.at(problem.index[problem.now]), "end": voice.at(problem.stamps[-1])}
    if plan.status == "infeasible":
        return "\n".join(
            [
                *_obstacles(plan, voice, window),
                *(voice.say("blame", wish=wish) for wish in to_blame),
            ]
        )
    if not plan.schedule:
        return voice.say("nothing" if plan.status == "solved" else "unfound", **window)
    return "\n".join(
        [
            voice.say("title", **window),
            *_head(plan, voice),
            *_batches(plan, voice),
            *_cautions(plan, voice, watched),
            *_others(plan, voice),
        ]
    )


def _obstacles(plan: Plan, voice: _Voice, window: dict[str, str]) -> list[str]:
    alone = all(obstacle.alone for obstacle in plan.obstacles)
    lines = [voice.say("none" if alone else "together", **window)]
    for found in plan.obstacles:
        family = FAMILIES_ES[found.family] if voice.language == "es" else found.family
        unit = UNITS_ES.get(found.unit, found.unit) if voice.language == "es" else found.unit
        change, detail = voice.punctuated(measured(found.amount, unit)), voice.detail(found.detail)
        lines.append(voice.say("obstacle", family=family, change=change, detail=detail))
    return lines


def _head(plan: Plan, voice: _Voice) -> list[str]:
    basis = voice.say("tolls" if "toll_eur_mwh" in plan.problem.request.prices else "energy")
    kg = sum(batch.kg for batch in plan.schedule)
    gap = voice.number(100 * plan.gap, 1)
    proof = voice.say("best") if float(gap.replace(",", ".")) <= 0 else voice.say("near", gap=gap)
    batches = voice.say("one" if len(plan.schedule) == 1 else "many", n=len(plan.schedule))
    head = voice.say(
        "head",
        kg=kg,
        batches=batches,
        eur=voice.number(plan.costs.paid, 2),
        basis=basis,
        proof=proof,
    )
    return [head, voice.say("late")] if plan.status == "time_out" else [head]


def _batches(plan: Plan, voice: _Voice) -> list[str]:
    lines = []
    for number, rows in enumerate(plan.by_batch(), start=1):
        lines.append(
            voice.say("batch", batch=number, variant=rows["variant"].iloc[0], kg=rows["kg"].iloc[0])
        )
        for row in rows.to_dict("records"):
            key = "begun" if row["begun"] else "stage"
            end = voice.at(row["end"], after=row["start"])
            line = voice.say(
                key, stage=voice.stage(row["stage"]), start=voice.at(row["start"]), end=end
            )
            held = row["held_until"] > row["end"]
            lines.append(
                line
                + (
                    voice.say("hold", until=voice.at(row["held_until"], after=row["end"]))
                    if held
                    else ""
                )
            )
    return lines


def _cautions(plan: Plan, voice: _Voice, watched: Sequence[Watch]) -> list[str]:
    problem = plan.problem
    price = problem.price[problem.now :]
    dear = np.concatenate([np.zeros(problem.now, bool), _dearest(price)])
    lines = (
        [voice.say("avoid", spans=voice.spans(spans(problem.stamps, dear)))] if dear.any() else []
    )
    for item in watched:
        kind = "idle" if item.kind == "exceptional" and item.running_kwh < 0.5 else item.kind
        if item.running_kwh < 0.5 and not item.moved and kind not in ("critical", "idle"):
            continue  # nothing runs then: nobody has anything to watch
        said, moved = voice.spans(item.spans), voice.say("moved") if item.moved else ""
        lines.append(
            voice.say(
                kind, stage=voice.stage(item.stage), spans=said, moved=moved, kwh=item.running_kwh
            )
        )
    over = excess_kw(problem, production_kw(problem, plan.schedule)) > 1e-6
    if over.any():
        said = voice.spans(spans(problem.stamps, over))
        lines.append(voice.say("excess", kw=problem.plant.power.contracted_kw, spans=said))
    if problem.unknown_air:
        lines.append(voice.say("air", slots=problem.unknown_air))
    return lines


def _dearest(price: Floats) -> Bools:
    """Return the dearest slots; a plateau longer than the share belongs to them, a flat day has none."""
    return np.asarray(
        (price >= np.quantile(price, DEAREST_SHARE)) & (price > np.median(price)), dtype=bool
    )


def _others(plan: Plan, voice: _Voice) -> list[str]:
    names = WORDS[voice.language]["unnamed"]
    said = [
        f"{names[name]} {voice.number(costs(plan.problem, laid).paid, 2)} EUR"  # type: ignore[index]
        for name, laid in plan.baselines.items()
    ]
    return [voice.say("against", list=", ".join(said))] if said else []
