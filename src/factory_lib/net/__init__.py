"""How the house speaks HTTP: one session per host; spacing, quota and circuit breaker shared by all processes."""

from factory_lib.net.http import Http
from factory_lib.net.reply import Check, Reply

__all__ = ["Check", "Http", "Reply"]
