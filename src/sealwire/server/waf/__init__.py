"""The tracers' own engine, in a process apart: what it says of rules, and of requests tried on them."""
