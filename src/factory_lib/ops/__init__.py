"""Running jobs: notebooks under papermill, reports, index, alerts, health."""
