"""State that all processes of a profile share, in one SQLite file: limits, breakers, marks, attempts, alerts, calls."""

from factory_lib.state.database import SCHEMA_VERSION, State, locked

__all__ = ["SCHEMA_VERSION", "State", "locked"]
