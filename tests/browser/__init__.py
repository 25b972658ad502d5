"""The web pages in a real browser, against a real control plane with a simulated fleet behind it."""
