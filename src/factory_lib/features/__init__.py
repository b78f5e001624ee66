"""Features: pure functions from frames known at an issue time to what a model sees."""
