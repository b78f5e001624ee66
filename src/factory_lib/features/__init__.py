"""Features: pure functions from frames available at an issue time to the inputs of a model."""
