"""Commands that only show, whatever home they are called on."""

SHOWING = (
    ("config", "check"),
    ("config", "show"),
    ("jobs",),
    ("gaps",),
    ("quarantine", "list"),
    ("predict", "--what-if", "price=80", "temperature=24", "humidity=50"),
    ("models",),
    ("plan", "override", "list"),
    ("health",),
    ("alerts", "list", "--all"),
    ("cron", "show"),
)
