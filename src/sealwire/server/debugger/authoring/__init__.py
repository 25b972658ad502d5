"""Probes as people handle them: written, tried, set, changed, stopped."""
