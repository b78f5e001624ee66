"""Daily use of the planner: inputs, overrides, what one plan leaves to the next, review and summary."""
