"""A seeded world and a local server that speaks every provider's wire format, faults included."""

from factory_lib.catalogue import default_catalogue

DEFAULT_SEED = 20210601
SERIES = default_catalogue()  # what the simulated providers publish values of
# Keys that the simulated providers take, by the name of their setting.
KEYS = {
    "AEMET_API_KEY": "head.body.sign",
    "OPENWEATHERMAP_API_KEY": "owm-key",
    "ESIOS_TOKEN": "esios-token",
    "SIAR_USER": "siar-user",
    "SIAR_PASSWORD": "siar-password",
}
