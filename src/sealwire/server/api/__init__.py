"""HTTP for machines, people and the command line."""
