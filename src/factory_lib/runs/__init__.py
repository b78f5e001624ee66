"""Runs of notebooks: due rules, the runner, run records, reports and their index."""
