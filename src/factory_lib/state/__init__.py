"""The state that all processes of a profile share, in one SQLite file; the only place with its SQL.

One module per table: functions take the open ``State``, and records or plain values in
and out.
"""

from factory_lib.state.database import SCHEMA_VERSION, State, open_state

__all__ = ["SCHEMA_VERSION", "State", "open_state"]
