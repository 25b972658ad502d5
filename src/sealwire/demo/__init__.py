"""The sample shop that `sealwire up` runs under an unmodified tracer."""
