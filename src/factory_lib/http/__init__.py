"""HTTP to the providers: one session per provider, and limits that all processes share."""

from factory_lib.http.client import Http, Reply, ResponseCheck

__all__ = ["Http", "Reply", "ResponseCheck"]
