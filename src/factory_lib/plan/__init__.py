"""From prices to a production plan: problem, solve, explain."""
