"""Asking providers politely: sessions, spacing, circuit breaker, retry."""
