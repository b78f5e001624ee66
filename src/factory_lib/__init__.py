"""Energy-aware production for a factory that buys power at market prices."""

__version__ = "0.1.0"
