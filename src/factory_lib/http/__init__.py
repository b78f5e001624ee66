"""HTTP to the providers: one session per host; spacing, quota and circuit breaker shared by all processes."""

from factory_lib.http.client import Http
from factory_lib.http.response import Reply, ResponseCheck

__all__ = ["Http", "Reply", "ResponseCheck"]
