"""What comes back besides: bodies in, statuses, numbers and spans."""
