"""Ingest, quality, gaps and backfill: pure functions on frames, thin orchestration."""
