"""How fast it is: plain scripts that print one table each and keep the numbers in ``bench/results``."""
