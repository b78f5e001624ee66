"""Daily use of the planner: inputs, overrides, the rolling plan, summary and review."""
