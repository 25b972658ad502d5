"""Rules of hosts: rule sets as versions, what they would do in a fleet, and the one that comes along."""
