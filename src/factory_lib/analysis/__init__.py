"""Studies behind the research notebooks: one series looked at closely, and what the climate means for the plant."""
