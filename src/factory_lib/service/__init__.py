"""The live page, the JSON API and the metrics of one profile: read-only, GET and HEAD alone."""
