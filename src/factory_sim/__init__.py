"""A seeded world and a local server that speaks every provider's wire format, faults included."""

DEFAULT_SEED = 20210601
