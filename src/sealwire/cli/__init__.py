"""Commands for people, over the admin API."""
