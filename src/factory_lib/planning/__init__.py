"""Daily use of the planner: inputs, overrides, the rolling plan and its files, summary, sheet and review."""
