"""Models: baselines, forecasters and how they are judged."""
