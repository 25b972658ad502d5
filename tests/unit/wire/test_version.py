"""Who we are on the wire."""

from __future__ import annotations

from sealwire.wire.semver import Constraint, Version
from sealwire.wire.version import WIRE_VERSION


def test_the_version_on_the_wire_satisfies_the_constraints_of_those_who_ask() -> None:
    version = Version.parse(WIRE_VERSION)

    # Java asks for 7.65.0 before it computes stats itself; rules ask for ranges without pre-releases.
    assert Constraint.parse(">= 7.65.0, < 8.0.0").admits(version)
    assert version.prerelease == ""
