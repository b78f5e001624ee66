"""Call every function that only reads, and every command that only shows, on one profile.

``python -m tests.support.looking PROFILE`` prints the words of the answers; what a call
refuses for want of data is no matter.
"""

import sys
import tempfile
from pathlib import Path

from sklearn.linear_model import Ridge

from factory_lib import lab
from factory_lib.cli import main
from factory_lib.errors import FactoryError
from tests.support.commands import SHOWING

SERIES = "spot_eur_mwh"
READERS = {
    "series": lambda ctx: lab.series(ctx, SERIES),
    "gaps": lab.gaps,
    "features": lab.features,
    "models": lab.models,
    "plan_preview": lambda ctx: lab.plan_preview(ctx, operators=-1),
    "plan_review": lab.plan_review,
    "explore": lambda ctx: lab.explore(ctx, SERIES),
    "climate_risk": lab.climate_risk,
    "energy_levers": lambda ctx: lab.energy_levers(ctx, every=52),
    "health": lab.health,
    "trainings": lab.trainings,
    "provenance": lambda ctx: lab.provenance(ctx, SERIES, every=True),
    "backtest": lambda ctx: lab.backtest(ctx, Ridge(), days=2),
    "forecasts": lambda ctx: lab.forecasts(ctx, SERIES),
    "verification": lambda ctx: lab.verification(ctx, SERIES),
    "attributions": lab.attributions,
    "inventory": lab.inventory,
    "runs": lab.runs,
}
# These act, and are not called: whoever adds a function decides on which side it is.
JOBS = {"ingest", "backfill", "train", "register", "predict", "plan", "maintain", "export"}
COMMANDS = (*SHOWING, ("models", "list"))


def look(profile: str) -> None:
    """Call everything once."""
    ctx = lab.open_profile(profile)
    for name, reader in READERS.items():
        try:
            answer = type(reader(ctx)).__name__
        except FactoryError as error:
            answer = f"refused: {error}"
        sys.stdout.write(f"lab.{name}: {answer}\n")
    for words in COMMANDS:
        sys.stdout.write(f"{' '.join(words)}: {main([*words, '--profile', profile])}\n")
    with tempfile.TemporaryDirectory() as folder:
        window = ("--since", "2025-11-01", "--until", "2025-11-02")
        file = str(Path(folder) / "out.csv")
        for view in (SERIES, "accounting", "gaps", "forecasts", "features", "plan"):
            main(["export", view, *window, "--out", file, "--profile", profile])


if __name__ == "__main__":
    look(sys.argv[1])
