"""Verification of a first answer with 100 configs: our core against python-tuf doing the same work.

The same work is: both repositories from root version 1 on, the product's delegated role, every file's length
and hash through both, nothing kept from before. python-tuf is called as its own updater calls it, on the
bytes at hand.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from bench.harness import keep, print_table, verdict
from sealwire.clock import utc_now
from sealwire.demo.fleet import to_answer
from sealwire.trust.uptane import Answer, RepositoryParts, TrustedState
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.parts import Domain, answer_of, demand, denylist, facts

CONFIGS = 100
GOAL = 1.5  # times python-tuf


def run(*, rounds: int) -> dict[str, object]:
    """Measure; prints and keeps the table."""
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as name:
        domain = Domain(Path(name), now=utc_now())
        for number in range(CONFIGS):
            domain.put("ASM_DATA", denylist(f"10.0.{number}.1", f"10.0.{number}.2"))
        (bundle,) = domain.publish(demand("host-a", facts()))
        raw = answer_of(bundle)
        roots = domain.publisher.roots
        first = roots.director[0], roots.config[0]
        org_uuid = domain.organisation.uuid
        domain.database.close()
    answer = to_answer(pb.LatestConfigsResponse.FromString(raw))

    def ours() -> int:
        state = TrustedState.bootstrap(director_root=first[0], config_root=first[1])
        return len(state.update(answer, now=utc_now(), org_uuid=org_uuid).targets)

    def theirs() -> int:
        return _with_python_tuf(answer, first)

    assert ours() == theirs() == CONFIGS
    took: dict[str, list[float]] = {"ours": [], "python-tuf": []}
    for turn in range(rounds):
        both: list[tuple[str, Callable[[], int]]] = [("ours", ours), ("python-tuf", theirs)]
        for who, work in both if turn % 2 else reversed(both):
            started = time.process_time()
            work()
            took[who].append((time.process_time() - started) * 1000)
    mine, reference = statistics.median(took["ours"]), statistics.median(took["python-tuf"])
    held = mine / reference <= GOAL
    print_table(
        f"First answer with {CONFIGS} configs ({len(raw):,} bytes) verified, CPU ms, median of {rounds}",
        ["", "ms", "of python-tuf", "goal", "held"],
        [
            ["python-tuf", f"{reference:.2f}", "1.00", "", ""],
            ["ours", f"{mine:.2f}", f"{mine / reference:.2f}", f"<= {GOAL}", verdict(held)],
        ],
    )
    kept: dict[str, object] = {
        "rows": [
            {"row": "python-tuf", "ms": round(reference, 3)},
            {"row": "ours", "ms": round(mine, 3), "of_python_tuf": round(mine / reference, 3), "held": held},
        ],
        "configs": CONFIGS,
        "answer_bytes": len(raw),
    }
    keep("verify", kept)
    return kept


def _with_python_tuf(answer: Answer, first: tuple[bytes, bytes]) -> int:
    director = _trusted(answer.director, first[0])
    config = _trusted(answer.config, first[1])
    top = config.targets
    listed: dict[str, TargetFile] = {}
    for path in director.targets.targets:
        assert top.delegations is not None
        for role, _terminating in top.delegations.get_roles_for_target(path):
            if role not in config:
                config.update_delegated_targets(answer.config.delegated[role], role, Targets.type)
            found = config[role]
            assert isinstance(found, Targets)
            if path in found.targets:
                listed[path] = found.targets[path]
                break
    files = {_plain(path): raw for path, raw in answer.files.items()}
    for path, target in director.targets.targets.items():
        assert target.length == listed[path].length
        assert target.hashes == listed[path].hashes
        target.verify_length_and_hashes(files[path])
    return len(files)


def _trusted(parts: RepositoryParts, first: bytes) -> TrustedMetadataSet:
    trusted = TrustedMetadataSet(first, EnvelopeType.METADATA)
    version = trusted.root.version
    for root in parts.roots[version:]:
        trusted.update_root(root)
    assert parts.timestamp is not None
    assert parts.snapshot is not None
    assert parts.targets is not None
    trusted.update_timestamp(parts.timestamp)
    trusted.update_snapshot(parts.snapshot)
    trusted.update_targets(parts.targets)
    return trusted


def _plain(path: str) -> str:
    folder, _, name = path.rpartition("/")
    first, _, rest = name.partition(".")
    return f"{folder}/{rest}" if len(first) == 64 else path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    run(rounds=parser.parse_args().rounds)


if __name__ == "__main__":
    main()
