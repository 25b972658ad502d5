"""What verifying a first answer costs: our ``TrustedState`` beside python-tuf's own set.

Both read the same documents: 100 configs of five products, both repositories, two roots each. The other side
is the work an ngclient-style program would do with ``TrustedMetadataSet``: the top-level roles in order, the
delegated roles, a look-up of every path with the library's own walk, and the hashes of every file. Ours does
that too, and besides cross-checks, limits, the pin of the organisation and a state to go on from.

Prints a table and writes ``results/verify.json``. Runs are interleaved, so a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import tuf
from tuf.api.metadata import TargetFile
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from sealwire.trust.canonical import sha256_hex
from sealwire.trust.profile import DIRECTOR_TARGETS, check_signed
from sealwire.trust.sign import (
    MetaEntry,
    TargetEntry,
    sign_document,
    snapshot_signed,
    targets_signed,
    timestamp_signed,
)
from sealwire.trust.uptane import Answer, RepositoryParts
from tests.support.repository import FAR, Simulator

PRODUCTS = ("ASM", "ASM_DATA", "ASM_DD", "APM_TRACING", "LIVE_DEBUGGING")
RESULTS = Path(__file__).parent / "results" / "verify.json"


def simulated(configs: int) -> Simulator:
    """A fleet's worth of configs, as a control plane would publish them."""
    simulator = Simulator(seed="bench")
    for number in range(configs):
        product = PRODUCTS[number % len(PRODUCTS)]
        payload = json.dumps({"number": number, "text": "x" * 800}).encode()
        predicates = {"tracer_predicates_v1": [{"service": f"shop-{number}", "environment": "prod"}]}
        simulator.put(
            f"datadog/2/{product}/{number:016x}/config", payload, **{"tracer-predicates": predicates}
        )
    for repository in (simulator.director, simulator.config):
        repository.rotate("timestamp")
    simulator.publish()
    return simulator


def by_the_library(simulator: Simulator, answer: Answer) -> None:
    """The same answer through python-tuf alone."""

    def top_level(parts: RepositoryParts) -> TrustedMetadataSet:
        trusted = TrustedMetadataSet(parts.roots[0], EnvelopeType.METADATA)
        trusted.reference_time = simulator.now
        for raw in parts.roots[1:]:
            trusted.update_root(raw)
        trusted.update_timestamp(parts.timestamp)
        trusted.update_snapshot(parts.snapshot)
        trusted.update_targets(parts.targets)
        return trusted

    def find(trusted: TrustedMetadataSet, path: str) -> TargetFile:
        for role, _ in trusted.targets.delegations.get_roles_for_target(path):
            if not trusted.contains(role, "targets"):
                trusted.update_delegated_targets(answer.config.delegated[role], role, "targets")
            return trusted[role].targets[path]
        raise LookupError(path)

    director, config = top_level(answer.director), top_level(answer.config)
    for path, target in director.targets.targets.items():
        found = find(config, path)
        if found.length != target.length or found.hashes != target.hashes:
            raise ValueError(path)
        folder, _, name = path.rpartition("/")
        target.verify_length_and_hashes(answer.files[f"{folder}/{target.hashes['sha256']}.{name}"])


def signing(simulator: Simulator) -> tuple[Callable[[], object], Callable[[], object]]:
    """Signing a director bundle of as many targets, and linting a role of 10,000."""
    signer = simulator.director.signers["targets"][0]
    entries = dict(simulator.director.targets)
    custom = {"opaque_backend_state": "eyJ2IjoxfQ==", "agent_refresh_interval": 5}

    def bundle() -> object:
        signed = targets_signed(version=9, expires=FAR, targets=entries, custom=custom)
        targets = sign_document(signed, [signer], role=DIRECTOR_TARGETS)
        meta = {"targets": MetaEntry(9, len(targets), sha256_hex(targets))}
        snapshot = sign_document(snapshot_signed(version=9, expires=FAR, meta=meta), [signer])
        return sign_document(
            timestamp_signed(version=9, expires=FAR, snapshot_version=9, snapshot_raw=snapshot), [signer]
        )

    large = targets_signed(
        version=9,
        expires=FAR,
        targets={
            f"datadog/2/ASM_DATA/{n:016x}/config": TargetEntry(n + 1, sha256_hex(b"%d" % n), {"v": n})
            for n in range(10_000)
        },
    )
    return bundle, lambda: check_signed("ASM_DATA", large)


def medians(rounds: int, **timed: Callable[[], object]) -> dict[str, float]:
    """Milliseconds by name; one run of each in turn, the first of each not counted."""
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, run in timed.items():
            began = time.perf_counter()
            run()
            if number:
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=100)
    chosen = parser.parse_args()

    simulator = simulated(chosen.configs)
    first = simulator.answer()
    empty = simulator.bootstrap()
    warm = simulator.update(empty, first)
    nothing = Answer(RepositoryParts(), RepositoryParts())
    simulator.put("datadog/2/ASM_DATA/one-more/config", b"{}")
    simulator.publish()
    second = simulator.answer()
    dump = warm.dump()
    roots = {"director_root": simulator.director.roots[0], "config_root": simulator.config.roots[0]}
    bundle, lint = signing(simulator)

    ms = medians(
        chosen.rounds,
        ours=lambda: simulator.update(empty, first),
        library=lambda: by_the_library(simulator, first),
        one_more=lambda: simulator.update(warm, second),
        same_again=lambda: simulator.update(warm, first),
        nothing_new=lambda: simulator.update(warm, nothing),
        restore=lambda: type(warm).restore(dump, **roots, now=simulator.now),
        sign_bundle=bundle,
    )
    ms |= medians(max(3, chosen.rounds // 10), lint_10000=lint)
    ratio = ms["ours"] / ms["library"]

    names = {
        "ours": f"first answer, {chosen.configs} configs, TrustedState.update",
        "library": "the same documents, python-tuf's TrustedMetadataSet",
        "one_more": "an answer with one config more, everything signed anew",
        "same_again": "the same full answer again",
        "nothing_new": "an empty answer",
        "restore": "restoring the saved state, every signature verified",
        "sign_bundle": f"signing a director bundle of {chosen.configs} targets",
        "lint_10000": "linting a role of 10,000 targets",
    }
    for name, title in names.items():
        print(f"{title:<60} {ms[name]:8.2f} ms")
    print(f"{'first answer, ours / python-tuf':<60} {ratio:8.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(_report(chosen, ms, ratio), indent=1, sort_keys=True) + "\n")


def _report(chosen: argparse.Namespace, ms: dict[str, float], ratio: float) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return {
        "configs": chosen.configs,
        "rounds": chosen.rounds,
        "median_ms": {name: round(value, 4) for name, value in ms.items()},
        "ours_to_python_tuf": round(ratio, 3),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "tuf": tuf.__version__,
        "cpus": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
