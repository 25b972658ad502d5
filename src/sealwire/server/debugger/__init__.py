"""Dynamic Instrumentation: probes, their expressions, and what comes back from live programs."""
