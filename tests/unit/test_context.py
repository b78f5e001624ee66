"""Whether a house lives in the present, or tells the past again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.clock import AS_OF_ENV, SimulatedClock
from factory_lib.context import open_context
from factory_lib.settings import Settings
from factory_lib.state.marks import get_marks

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("as_of", "present", "replay"),
    [
        pytest.param(None, None, False, id="nothing-asked-for"),
        pytest.param(NOW - MINUTE, None, True, id="a-minute-ago"),
        pytest.param(NOW + MINUTE, None, True, id="in-a-minute"),
        pytest.param(
            "2026-04-15T09:59:00Z",
            "2026-04-15T09:59:00Z",
            False,
            id="the-kernel-of-a-scheduled-run",
        ),
        pytest.param("2026-04-15T09:58:00Z", "2026-04-15T09:59:00Z", True, id="a-replay-beside-it"),
        pytest.param("2026-04-12", "2026-04-12", True, id="long-ago"),
    ],
)
def test_a_named_instant_other_than_now_is_a_replay_and_moves_no_mark(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    as_of: datetime | str | None,
    present: str | None,
    replay: bool,
) -> None:
    if present:
        monkeypatch.setenv(AS_OF_ENV, present)
    with open_context(settings=settings, as_of=as_of, clock=SimulatedClock(NOW)) as ctx:
        assert ctx.replay == replay
        ctx.set_mark("stored", "spot_eur_mwh", NOW)
        assert bool(get_marks(ctx.state, "stored")) != replay
