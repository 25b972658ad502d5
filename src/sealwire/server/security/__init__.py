"""Attacks as they are seen: security traces, detection rules, signals."""
