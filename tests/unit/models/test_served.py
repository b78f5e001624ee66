"""What is served through the store and the command line is what the backtest scores."""

from datetime import time, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.analysis.price_backtest import backtest_prices
from factory_lib.cli import main
from factory_lib.clock import local_instant
from factory_lib.context import open_context
from factory_lib.features.days import to_slots
from factory_lib.frames import QUANTILES, tidy
from factory_lib.models import prediction, retrain_trigger
from factory_lib.models.forecasters import PriceForecaster

FIRST, DAYS = "2024-02-18", 4
LEADS = (1, 2)
REFIT_DAYS = 2
HISTORY = ("--profile", "history")


@pytest.fixture
def small_fits(small, monkeypatch):
    fit = PriceForecaster.fit

    def fit_one_lead(self, prices, exogenous=None, *, jobs=None):
        self.config, self.leads = small, LEADS
        return fit(self, prices, exogenous, jobs=1)

    monkeypatch.setattr(PriceForecaster, "fit", fit_one_lead)


def test_days_after_a_training_are_served_as_the_backtest_scores_them(
    market, small, small_fits, monkeypatch, tmp_path
):
    first = pd.Timestamp(FIRST).date()
    noons = [local_instant(first + timedelta(days=n - 1), time(12)) for n in range(DAYS)]
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    settings = factory_settings.load("history")
    known = pd.concat(map(to_slots, market.days.tolist(), market.grid))
    rows = tidy(
        "spot_eur_mwh",
        known.index,
        known,
        place="ES",
        source="ree",
        kind="observed",
        resolution_s=3600,
        retrieved_at=noons[0],
    )
    for number, noon in enumerate(noons):
        with open_context(settings=settings, as_of=noon) as ctx:
            ctx.store.write(rows, run_id="test")
            if number % REFIT_DAYS == 0:
                result = retrain_trigger.train(ctx, force=True)
                assert result.metrics["promoted"] == "spot_price"
            if noon < noons[-1]:
                prediction.predict(ctx)
    assert main(["predict", "--as-of", noons[-1].isoformat(), *HISTORY]) == 0
    with open_context(settings=settings, read_only=True) as ctx:
        stored = ctx.store.read_forecasts(
            "spot_eur_mwh",
            places=("ES",),
            start=noons[0],
            end=noons[-1] + timedelta(days=3),
            as_of=noons[-1],
            latest=False,
        )
    day, issue_day = (
        stored[name].dt.tz_convert("Europe/Madrid").dt.normalize().dt.tz_localize(None)
        for name in ("target_start", "issued_at")
    )
    served = stored.assign(lead=(day - issue_day).dt.days).set_index(["lead", "target_start"])
    served = served[served["tier"] == "champion"]
    scored = pd.concat(
        backtest_prices(
            market,
            first + timedelta(days=lead - 1),
            first + timedelta(days=lead + DAYS - 2),
            config=small,
            leads=(lead,),
            refit_days=REFIT_DAYS,
        )
        for lead in LEADS
    ).set_index(["lead", "start"])
    assert len(served) == 24 * DAYS * len(LEADS)
    quantiles = list(QUANTILES)
    assert np.allclose(served[quantiles], scored.loc[served.index, quantiles], atol=1e-3)
