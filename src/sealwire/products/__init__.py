"""What can be configured: one file per product, found by being there."""
