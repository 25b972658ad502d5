"""The rule set that comes along: rules of our own making, each with its reason."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sealwire.server.workload.rule_files import RuleSet, read_directory

FOLDER = Path(__file__).parent / "default_rules"


@lru_cache(maxsize=1)
def bundled() -> RuleSet:
    """The rule set that comes along."""
    return read_directory(FOLDER)
