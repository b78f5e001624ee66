"""A seeded world and a local server that speaks every provider's wire format, faults included."""

from factory_lib.catalogue import default_catalogue

DEFAULT_SEED = 20210601
SERIES = default_catalogue()  # what the simulated providers publish values of
