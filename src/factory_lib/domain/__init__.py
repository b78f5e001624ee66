"""Tariff periods, the documented indices and the plant: pure functions."""
