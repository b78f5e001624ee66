"""What no source has: remembered, and read without hindering a writer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory_lib.clock import epoch
from factory_lib.pipeline import known_unfillable
from factory_lib.state import State

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
DOORS = [("ree", "ES")]


def test_it_is_read_while_another_process_writes(tmp_path: Path) -> None:
    reader, writer = State(tmp_path / "state.db"), State(tmp_path / "state.db")
    reader._connection.execute("PRAGMA busy_timeout = 0")
    first, last = epoch(NOW - timedelta(days=1)), epoch(NOW - timedelta(hours=20))
    known_unfillable.remember(reader, "spot_eur_mwh", [(first, last, 86_400)], DOORS, NOW)
    with writer.transaction():
        assert known_unfillable.recall(reader, "spot_eur_mwh", DOORS, NOW) == [(first, last)]
        assert known_unfillable.next_look(reader, "spot_eur_mwh") == epoch(
            NOW + timedelta(hours=20)
        )
        assert known_unfillable.next_look(reader, "pvpc_eur_mwh") is None
    reader.close()
    writer.close()
