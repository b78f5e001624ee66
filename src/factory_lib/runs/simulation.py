"""The simulator of a simulated profile, and its clock, which stands still between commands.

What may ask providers, a command or a notebook, starts them itself where none run.
Standard library only: ticks pass through here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from factory_lib import settings as factory_settings
from factory_lib.clock import SystemClock, load_clock
from factory_lib.settings import Settings, own_environment
from factory_lib.state import limiter, open_hosts

# A fixed instant, so that the demo's figures are the same on every machine and day. The
# history before it holds a clock change and the market's change from hours to quarters; after
# it wind takes the price from 79 to 5 EUR/MWh, so that each class of a start is advised.
BEGIN = datetime(2025, 11, 13, 10, 0, tzinfo=UTC)


@contextmanager
def ensure_running(settings: Settings, at: datetime | None = None) -> Iterator[Settings]:
    """Yield settings whose providers answer; starts a simulator where one is needed."""
    if settings.simulated and not settings.simulator_url:
        with start(settings, at) as changed:
            yield changed
    else:
        yield settings


@contextmanager
def start(settings: Settings, at: datetime | None = None) -> Iterator[Settings]:
    """Start a simulator and yield settings with its address and time; kernels inherit both.

    It stands at the given instant, by default where the profile's clock was left.
    """
    from factory_sim.launch import launched

    stopped_at = load_clock(settings.paths.clock)
    now = at or stopped_at or BEGIN
    # Later commands find what was late in the first one.
    holes = "lost" if stopped_at else "demo"
    with open_hosts(settings) as hosts:
        # Turns and open circuits of a command at the real time would block every host.
        limiter.forget_from(hosts, now)
    with launched(now=now, holes=holes) as remote, own_environment():
        os.environ["FACTORY_SIMULATOR_URL"] = remote.url
        os.environ["FACTORY_CLOCK_OFFSET_S"] = str((now - SystemClock().now()).total_seconds())
        yield factory_settings.load(settings.profile, settings.site_id or None)
