"""The state that all processes of a profile share, and the only place with its SQL.

One module per table: functions take the open ``State`` (or its ``Hosts``), and records
or plain values in and out.
"""

from factory_lib.state.database import (
    Hosts,
    State,
    damaged_hosts,
    empty_state,
    hold,
    hold_all,
    open_hosts,
    open_state,
)

__all__ = [
    "Hosts",
    "State",
    "damaged_hosts",
    "empty_state",
    "hold",
    "hold_all",
    "open_hosts",
    "open_state",
]
