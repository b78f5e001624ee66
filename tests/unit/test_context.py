"""The context of a run: present or replay, what it records, and how a reader leaves the files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.clock import AS_OF_ENV
from factory_lib.context import open_context
from factory_lib.errors import BadInput
from factory_lib.models import registry
from factory_lib.settings import Settings
from factory_lib.state import open_state
from factory_lib.state.calls import calls_since
from factory_lib.state.marks import get_marks
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("as_of", "present", "replay"),
    [
        pytest.param(None, None, False, id="no-instant"),
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


def test_each_operation_of_store_and_registry_leaves_one_row(settings: Settings) -> None:
    with open_context(settings=settings, clock=SimulatedClock(NOW)) as ctx:
        ctx.store.slots("spot_eur_mwh", places=["ES"], start=NOW - MINUTE, end=NOW)
        with pytest.raises(BadInput):
            ctx.store.slots("no_such_series", places=["ES"], start=NOW - MINUTE, end=NOW)
        ctx.store.inventory()
        with registry.client_for(ctx, "list"):
            pass
        recorded = calls_since(ctx.state, NOW)
    assert [(call.component, call.target, call.status, call.rows) for call in recorded] == [
        ("store", "slots", "ok", 0),
        ("store", "inventory", "ok", 0),
        ("registry", "list", "ok", 0),
    ]
    assert {call.at for call in recorded} == {NOW}
    assert min(call.duration_ms for call in recorded) > 0


@pytest.mark.parametrize(
    "options", [{"read_only": True}, {"lazy": True}], ids=["read only", "lazy"]
)
def test_looking_leaves_no_row(settings: Settings, options: dict[str, bool]) -> None:
    open_state(settings).close()
    before = settings.paths.state.read_bytes()
    with open_context(settings=settings, clock=SimulatedClock(NOW), **options) as ctx:
        ctx.store.inventory()
        assert calls_since(ctx.state, NOW) == []
    assert settings.paths.state.read_bytes() == before
