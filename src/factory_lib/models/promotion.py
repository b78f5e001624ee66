"""Which version is used: promoted only if better than every naive forecast, the rules and the champion.

One path for every model: ``trials`` says what it lost and what its rivals did, this
says what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from factory_lib.clock import parse_instant
from factory_lib.context import RunContext
from factory_lib.errors import ModelError
from factory_lib.models import registry
from factory_lib.models.candidates import Trial

FEWEST_DAYS = (
    7  # a champion is only judged on so many days of issue, or more, that it has not learnt from
)
FEWEST_DAYS_TO_RETIRE = 28  # a bad week is no reason to go back to the rival


@dataclass(frozen=True)
class Decision:
    """What became of a version, with the mean losses it was decided on (lower is better, ``measure`` says of what).

    Attributes
    ----------
    rival, rival_error, error : str, float, float
        The naive forecast or rule hardest to beat, its loss, and the version's own on
        the same rows.
    champion, champion_error, error_on_same_hours : str, float, float
        The champion's version, its loss on the rows new to it, and the new version's on
        the same.
    """

    model: str
    version: str
    alias: str
    measure: str
    error: float
    rival: str
    rival_error: float
    champion: str
    champion_error: float | None
    error_on_same_hours: float | None
    reason: str

    @property
    def promoted(self) -> bool:
        """Whether the version is the champion now."""
        return self.alias == registry.CHAMPION


def decide(ctx: RunContext, trial: Trial, version: str) -> Decision:
    """Compare a new version with its rivals and the champion, and set the aliases.

    The champion is scored again on the rows of the trial that were issued after its
    training: before, it has seen the answers. One that has fallen behind a rival for
    weeks is retired: the rival serves.
    """
    rival, rival_error, own = trial.strongest_rival()
    champion = champion_error = same_hours = None
    promote = own < rival_error
    reason = f"{_better(promote)} than {rival}, {own:.3g} against {rival_error:.3g}"
    retire = False
    try:
        champion = registry.load(ctx, trial.model)
        again = trial.rerun(champion.estimator)
        unseen = again.notna() & (trial.issued_at >= parse_instant(champion.tags["as_of"]))
        days = trial.issued_at[unseen].dt.normalize().nunique()
        if days < FEWEST_DAYS:
            promote = False
            reason += (
                f"; {days} days are new to the champion, {FEWEST_DAYS} are needed to replace it"
            )
        else:
            champion_error, same_hours = (
                float(again[unseen].mean()),
                float(trial.losses["model"][unseen].mean()),
            )
            behind = (
                trial.losses[rival][unseen].mean()
                < again[unseen & trial.losses[rival].notna()].mean()
            )
            promote = promote and same_hours < champion_error
            retire = bool(behind) and not promote and days >= FEWEST_DAYS_TO_RETIRE
            reason += (
                f"; {_better(same_hours < champion_error)} than champion {champion.number} on {days} days new to it, "
                f"{same_hours:.3g} against {champion_error:.3g}"
            )
    except ModelError as missing:
        reason += f"; {missing.message.rstrip('.')}"
    if retire and champion:
        reason += f"; champion {champion.number} is behind {rival} and retired"
        registry.retire(ctx, trial.model, f"behind {rival}")
    (registry.promote if promote else registry.challenge)(ctx, trial.model, version, reason)
    return Decision(
        trial.model,
        version,
        registry.CHAMPION if promote else registry.CHALLENGER,
        trial.measure,
        own,
        rival,
        rival_error,
        champion.number if champion else "",
        champion_error,
        same_hours,
        reason,
    )


def _better(yes: bool) -> str:
    return "better" if yes else "not better"
