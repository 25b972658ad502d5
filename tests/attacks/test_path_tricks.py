"""Path tricks: a path that leads out of its place, or reads differently in different programs.

Stops it: five parts and nothing else; the whole answer is refused. No path ever becomes a file name in the
agent.
"""

from __future__ import annotations

import pytest

from sealwire.trust.canonical import sha256_hex
from sealwire.trust.sign import TargetEntry
from tests.attacks.bench import Bench

NO_PATH = {
    "parent": "datadog/2/ASM_DATA/../config",
    "parent of all": "../../../../../../etc/passwd",
    "dot": "datadog/2/ASM_DATA/./config",
    "absolute": "/datadog/2/ASM_DATA/x/config",
    "too short": "datadog/2/ASM_DATA/config",
    "too long": "datadog/2/ASM_DATA/x/y/config",
    "empty part": "datadog/2/ASM_DATA//config",
    "leading zero": "datadog/02/ASM_DATA/x/config",
    "organisation in words": "datadog/two/ASM_DATA/x/config",
    "other digits": "datadog/\u0662/ASM_DATA/x/config",
    "backslash": "datadog/2/ASM_DATA/..\\..\\x/config",
    "control character": "datadog/2/ASM_DATA/x\u007f/config",
    "turned around": "datadog/2/ASM_DATA/x\u202egifnoc/config",
    "another beginning": "elsewhere/2/ASM_DATA/x/config",
    "over-long": f"datadog/2/ASM_DATA/{'x' * 5000}/config",
}


@pytest.mark.parametrize("path", NO_PATH.values(), ids=NO_PATH)
def test_a_path_that_is_none_is_refused_though_both_repositories_sign_it(bench: Bench, path: str) -> None:
    thief = bench.thief()
    entry = TargetEntry(2, sha256_hex(b"{}"), {"v": 1})
    thief.config.targets[path] = thief.director.targets[path] = entry
    thief.files[path] = b"{}"
    thief.publish()

    bench.attack_with(thief)

    code = "oversize" if len(path) > 4096 else "malformed"
    bench.assert_refused(code, "The director lists ")
    bench.assert_recovers()
    names = [str(file.relative_to(bench.folder)) for file in bench.folder.rglob("*")]
    assert not [name for name in names if "passwd" in name or "ASM_DATA" in name]
