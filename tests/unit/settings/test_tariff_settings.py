"""The tariff's table: days of validity, and mistakes told where they are."""

from __future__ import annotations

import tomllib

import pytest

from factory_lib import settings as factory_settings
from factory_lib.errors import ConfigError
from factory_lib.settings.loading import decode
from factory_lib.settings.tariff import TariffSettings

SIX = "eur_mwh = { P1 = 6, P2 = 5, P3 = 4, P4 = 3, P5 = 2, P6 = 1.5 }"
TOLLS = f"[[tolls]]\nsince = 2026-01-01\nuntil = 2027-01-01\n{SIX}\n"
LATER = f"[[tolls]]\nsince = 2027-01-01\n{SIX}\n"
TAX = "[[taxes]]\nname = 'electricity tax'\nsince = 2026-01-01\n"


def read(text: str) -> TariffSettings:
    return decode(TariffSettings, tomllib.loads(text), "tariff")


def test_the_committed_file_sets_none_and_says_energy_only():
    chosen = factory_settings.load("live", env={}).tariff
    assert (chosen.tolls, chosen.taxes) == ((), ())
    assert chosen.counted.startswith("energy only")


def test_years_may_follow_each_other():
    chosen = read(LATER + TOLLS + TAX + "share = 0.05")
    assert len(chosen.tolls) == 2
    assert chosen.counted == "energy, tolls and electricity tax"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(TOLLS + LATER.replace("2027", "2026"), "overlap", id="overlap"),
        pytest.param(
            TOLLS.replace("until = 2027-01-01", "") + LATER, "overlap", id="an open end overlaps"
        ),
        pytest.param(
            TOLLS.replace("2027", "2025"), "must be after since", id="ends before it begins"
        ),
        pytest.param(
            TOLLS.replace("P6 = 1.5", "P7 = 1"), "need eur_mwh of P1", id="a period missing"
        ),
        pytest.param(
            "access = '2.0TD'\n" + TOLLS, "need eur_mwh of P1, P2, P3", id="six periods of three"
        ),
        pytest.param(TOLLS + TAX, "share or eur_mwh", id="a tax without amount"),
        pytest.param(TOLLS + TAX + "share = 5.0", "a fraction", id="percent for a share"),
        pytest.param(
            TOLLS + (TAX + "share = 0.05\n") * 2, "taxes electricity tax since", id="a tax twice"
        ),
        pytest.param(TAX + "share = 0.05", "set tolls too", id="a tax on an unknown sum"),
        pytest.param("price_basis = 'pvpc'\n" + TOLLS, "contains its tolls", id="tolls twice"),
        pytest.param(TOLLS.replace("since", "from"), "key 'from' is unknown", id="an unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_place(text, says):
    with pytest.raises(ConfigError, match="tariff") as refused:
        read(text)
    assert says in str(refused.value)
