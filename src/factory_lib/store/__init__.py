"""The store: one contract, an embedded backend and InfluxDB 2.x."""
