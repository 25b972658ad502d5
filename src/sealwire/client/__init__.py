"""The library inside an application."""
