"""Topics of the marks that jobs leave in the shared state for the next tick."""

LATEST = "latest"  # the end of the newest slot of a series
STORED = "stored"  # when a series last got a new or revised value
ASKED = "asked"  # when a provider was last asked
DRIFT = "drift"  # since when the forecasts of a series have been out of line; the note says how
