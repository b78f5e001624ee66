"""Studies behind the research notebooks: one series in detail, climate risk of the plant."""
