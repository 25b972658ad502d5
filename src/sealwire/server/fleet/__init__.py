"""The fleet as people see it: who is there, what they have, why, and what needs attention."""
