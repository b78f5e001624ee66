"""Energy-aware production for a factory that buys power at market prices."""

import os

__version__ = "0.1.0"

# Threads of OpenMP wait by spinning: where another program has a core, fits of the tests took
# fifteen times as long. Set before a library loads it; a value that is set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
