"""The shift leader's words: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from factory_lib.errors import BadInput
from factory_lib.plan.request import Order, Outage, Pin
from factory_lib.planning import overrides
from factory_lib.settings import Settings

DAY = date(2026, 3, 27)


@pytest.mark.parametrize(
    ("word", "kind", "meant"),
    [
        pytest.param(
            "pin standard mixing 06:30",
            "pins",
            Pin("standard", "mixing", datetime(2026, 3, 27, 5, 30, tzinfo=UTC)),
            id="a time is of the planned day",
        ),
        pytest.param(
            "out conche 2026-03-29 12:00",
            "outages",
            Outage("conche", datetime(2026, 3, 29, 10, 0, tzinfo=UTC)),
            id="summer time",
        ),
        pytest.param(
            "order premium 250 2026-03-27T12:00:00Z",
            "orders",
            Order("premium", 250.0, datetime(2026, 3, 27, 12, 0, tzinfo=UTC)),
            id="an offset counts",
        ),
    ],
)
def test_a_wish_is_local_unless_it_says_otherwise(
    settings: Settings, word: str, kind: str, meant: object
) -> None:
    assert getattr(overrides.read([word], settings.plant, DAY), kind) == (meant,)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("pin standard 08:15", "not understood"),
        ("pin standard mixing late", "not understood"),
        ("pin standard mixing 25:10", "not understood"),
        ("pin standard mixing 2026-03-29T02:30", "there is no 02:30"),
        ("pin standard cooling 08:15", "no stage 'cooling'"),
        ("pin praline mixing 08:15", "no variant 'praline'"),
        ("out kettle 12:00", "no machine 'kettle'"),
        ("order standard lots 12:00", "not understood"),
        ("order standard -5 12:00", "not a number of kilograms"),
        ("order standard nan 12:00", "not a number of kilograms"),
        ("", "not understood"),
    ],
)
def test_what_means_nothing_is_refused_with_its_own_words(
    settings: Settings, word: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        overrides.read([word], settings.plant, DAY)
    assert caught.value.exit_code == 2


def test_what_is_kept_means_the_same_on_another_day(settings: Settings, tmp_path: Path) -> None:
    asked = overrides.read(["out conche 12:00"], settings.plant, DAY)
    overrides.keep(tmp_path, asked)
    assert overrides.read(overrides.kept(tmp_path), settings.plant, date(2026, 3, 30)) == asked
    overrides.keep(tmp_path, overrides.read([overrides.NONE], settings.plant, DAY))
    assert overrides.kept(tmp_path) == []
