"""Health, diagnostics and alerts: is everything running, and who is notified when it is not."""
