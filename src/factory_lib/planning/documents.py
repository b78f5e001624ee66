"""Plans on disk: the latest for people and programs, each one for replays and reviews.

``plans/plan.{json,csv,ics}`` are of the latest plan; ``plans/<day>/<time>Z.json`` keep
each. A replay of real days has a folder of its own, so that it rewrites no history.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import market_day, parse_instant
from factory_lib.context import RunContext
from factory_lib.files import write_atomically
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import Batch
from factory_lib.planning.calendar import to_ics

SCHEMA = "factory-plan/3"
REMEMBERED_DAYS = 14
STAGE_COLUMNS = ("batch", "product", "kg", "stage", "machine", "kw", "start", "end")


@dataclass(frozen=True)
class PlanDocument:
    """A plan as it was written: when it was made, its window and its stages (``STAGE_COLUMNS``)."""

    made_at: datetime
    begin: datetime
    end: datetime
    first_demand: date
    stages: pd.DataFrame
    fields: Mapping[str, Any]

    def batches(self) -> Iterator[tuple[Batch, datetime]]:
        """Yield each batch with all its starts, and when its last stage ends."""
        for number, rows in self.stages.groupby("batch"):
            starts = dict(zip(rows["stage"], rows["start"].dt.to_pydatetime(), strict=True))
            first = rows.iloc[0]
            batch = Batch(int(str(number)), str(first["product"]), float(first["kg"]), starts)
            yield batch, rows["end"].max().to_pydatetime()


def plans_folder(ctx: RunContext) -> Path:
    """Return where the plans of a context lie."""
    replay = ctx.replay and not ctx.simulated
    return ctx.settings.paths.data / "plans" / ("replayed" if replay else "")


def documents(ctx: RunContext, since: date) -> list[PlanDocument]:
    """Return the plans made from ``since`` on and by ``ctx.as_of``, the oldest first."""
    plans = []
    for folder in dict.fromkeys((plans_folder(ctx), ctx.settings.paths.data / "plans")):
        for file in folder.glob("[0-9]*/*Z.json"):
            if since <= date.fromisoformat(file.parent.name) <= market_day(ctx.as_of):
                plans.append(_read(file))
    made = {one.made_at: one for one in reversed(plans) if one.made_at <= ctx.as_of}
    return [made[at] for at in sorted(made)]


def recent(ctx: RunContext) -> list[PlanDocument]:
    """Return the plans of the last two weeks."""
    return documents(ctx, market_day(ctx.as_of) - timedelta(days=REMEMBERED_DAYS))


def carried_out(plans: Sequence[PlanDocument], until: datetime) -> pd.DataFrame:
    """Return the stages that began under each plan before the next one was made, by ``until``.

    A stage that was begun is a fact; what a later plan says of the same batch and stage
    is what counts.
    """
    if not plans:
        return pd.DataFrame(columns=[*STAGE_COLUMNS])
    ends = [*(plan.begin for plan in plans[1:]), until]
    parts = [plan.stages[plan.stages["start"] < end] for plan, end in zip(plans, ends, strict=True)]
    stages = pd.concat(parts, ignore_index=True)
    return stages.drop_duplicates(["batch", "stage"], keep="last", ignore_index=True)


def write(
    plan: Plan, folder: Path, made_at: datetime, before: PlanDocument | None, **fields: Any
) -> tuple[str, ...]:
    """Write a plan to its files and return their paths.

    Parameters
    ----------
    before : PlanDocument, optional
        The plan that this one takes the place of: what it alone had is cancelled in the
        calendar.
    fields : dict
        Further keys of ``plan.json``.
    """
    stages = stages_of(plan)
    document = json.dumps(
        _document(plan, stages, made_at, fields), indent=1, ensure_ascii=False, allow_nan=False
    )
    kept = folder / str(market_day(made_at)) / f"{made_at:%H%M%S}Z.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, document + "\n")
    files = {
        "plan.json": document + "\n",
        "plan.csv": stages.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ"),
        "plan.ics": to_ics(stages, made_at, before.stages if before else None),
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return tuple(str(folder / name) for name in files)


def stages_of(plan: Plan) -> pd.DataFrame:
    """Return one row for each stage of each batch, with its people and the end of holding."""
    table = plan.table()
    stages = table[table["activity"] == "run"].drop(columns="activity")
    others = table.set_index(["batch", "stage"])
    people = others["people"].groupby(level=[0, 1]).max()
    holding = others.loc[others["activity"] == "hold", "end"]
    keys = pd.MultiIndex.from_frame(stages[["batch", "stage"]])
    stages["people"] = people.reindex(keys).to_numpy()
    held_until = pd.Series(holding.reindex(keys).to_numpy(), index=stages.index)
    if held_until.dt.tz is None:
        held_until = held_until.dt.tz_localize("UTC")
    stages["held_until"] = held_until.fillna(stages["end"])
    return stages.reset_index(drop=True)


def _document(
    plan: Plan, stages: pd.DataFrame, made_at: datetime, fields: Mapping[str, Any]
) -> dict[str, Any]:
    request = plan.problem.request
    costs = {key: value for key, value in asdict(plan.costs).items() if key != "relaxations"}
    rows = json.loads(stages.to_json(orient="records", date_format="iso", date_unit="s"))
    return {
        "schema": SCHEMA,
        "made_at": _iso(made_at),
        "plant": request.plant.name,
        "begin": _iso(request.begin),
        "end": _iso(request.end),
        "source": plan.source,
        "gap": plan.gap if plan.gap < float("inf") else None,
        "costs_eur": {**costs, "paid": plan.costs.paid, "objective": plan.costs.objective},
        "stages": rows,
        "gave_way": [
            {**asdict(item), "begin": _iso(item.begin), "until": item.until and _iso(item.until)}
            for item in plan.costs.relaxations
        ],
        **fields,
    }


def _read(file: Path) -> PlanDocument:
    fields = json.loads(file.read_text(encoding="utf-8"))
    stages = pd.DataFrame(fields["stages"], columns=[*STAGE_COLUMNS])
    for name in ("start", "end"):
        stages[name] = pd.to_datetime(stages[name], utc=True).dt.as_unit("s")
    return PlanDocument(
        made_at=parse_instant(fields["made_at"]),
        begin=parse_instant(fields["begin"]),
        end=parse_instant(fields["end"]),
        first_demand=date.fromisoformat(fields["first_demand"]),
        stages=stages,
        fields=fields,
    )


def _iso(instant: datetime) -> str:
    """Return an instant as ISO 8601 with Z."""
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
