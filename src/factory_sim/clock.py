"""A clock for tests and benchmarks."""

from datetime import datetime, timedelta

from factory_lib.clock import require_utc


class SimulatedClock:
    """A clock that stands still until it is set or slept on."""

    def __init__(self, start: datetime) -> None:
        self._now = require_utc(start)

    def now(self) -> datetime:
        """Return the simulated instant, UTC."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance by ``seconds`` at once."""
        self._now += timedelta(seconds=max(0.0, seconds))

    def set(self, instant: datetime) -> None:
        """Jump to ``instant``."""
        self._now = require_utc(instant)
