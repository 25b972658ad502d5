"""Sealwire: signed Remote Configuration for Datadog's open Agent and tracers, on your own servers."""

__version__ = "0.1.0"
