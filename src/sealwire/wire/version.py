"""Who Sealwire is on the wire.

Tracers, rule constraints and control planes compare the agent's version with their own minimum, so what
is said there is a version of the compatible Agent, not Sealwire's. Ours is in the tag ``sealwire_version``.
The value has no pre-release part: a constraint without one would never match it.
"""

from __future__ import annotations

from typing import Final

# In `agentVersion`, `/info.version` and rule constraints. Java wants 7.65.0 or later for client-side stats.
WIRE_VERSION: Final = "7.80.0"
