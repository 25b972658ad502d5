"""Build the attack sequences as data: ``python -m tests.vectors.build``.

Each file next to this one is one sequence of answers, with what a verifier must make of each step. They are
data so that any verifier can replay them: ours does in ``tests/unit/trust/test_vectors.py``. The outcomes are
written here by hand, not recorded from our own code; those of the other verifier, the Rust client inside the
ddtrace wheel, were seen with version 4.16. The sequences are those of trust.md 3.1 and 4.2.

Form of a file::

    {"title", "source", "director_root", "config_root", "org_uuid",
     "steps": [{"answer": {"director": {"roots", "timestamp", "snapshot", "targets"},
                           "config": {"roots", "timestamp", "snapshot", "targets", "delegated"},
                           "files": {path: contents}},
                "now", "org_uuid", "expect": "ok" or an error's code, "expect_rust": "ok" or "refused",
                "holds": {what must be trusted after this step}}]}

All documents and files are base64; the two roots are version 1; ``org_uuid`` of a step is what the
organisation's endpoint says at that time. Nothing expires before 2100, except where expiry is the subject:
there it lies in the past, so that a verifier that reads the real clock sees the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sealwire.trust.canonical import canonical_bytes
from sealwire.trust.sign import targets_signed
from sealwire.trust.uptane import Answer, RepositoryParts
from tests.support.repository import NOW, ORG_UUID, SimulatedRepository, Simulator, edited, sign_anything

HERE = Path(__file__).parent
PAST = datetime(2020, 1, 1, tzinfo=UTC)
ONE = "datadog/2/ASM_DATA/aaaa/config"
TWO = "datadog/2/ASM_DATA/bbbb/config"
OTHER_PRODUCT = "datadog/2/ASM_DD/cccc/config"
OTHER_ORG = "11111111-2222-4333-8444-555555555555"


class Sequence:
    """A simulator, and the answers it has given so far with what is expected of each."""

    def __init__(self, name: str) -> None:
        self.simulator = Simulator(seed=f"vectors/{name}")
        self.steps: list[dict[str, Any]] = []
        self.simulator.put(ONE, b'{"one":1}')
        self.simulator.publish()

    @property
    def director(self) -> SimulatedRepository:
        return self.simulator.director

    @property
    def config(self) -> SimulatedRepository:
        return self.simulator.config

    def start(self) -> Answer:
        """The first, ordinary answer, after which the step under test comes."""
        return self.step("ok", "ok")

    def news(self) -> None:
        """An ordinary change: one more config, everything signed anew."""
        self.simulator.put(TWO, b'{"two":2}')
        self.simulator.publish()

    def step(
        self,
        expect: str,
        expect_rust: str,
        answer: Answer | None = None,
        *,
        org_uuid: str = ORG_UUID,
        **holds: Any,
    ) -> Answer:
        """Give an answer, the present one by default."""
        answer = answer if answer is not None else self.simulator.answer()
        self.steps.append(
            {
                "answer": {
                    "director": _parts(answer.director),
                    "config": {**_parts(answer.config), "delegated": _encoded(answer.config.delegated)},
                    "files": _encoded(answer.files),
                },
                "now": NOW.isoformat(),
                "org_uuid": org_uuid,
                "expect": expect,
                "expect_rust": expect_rust,
                "holds": holds,
            }
        )
        return answer


SEQUENCES: dict[str, tuple[str, str, Callable[[Sequence], None]]] = {}


def sequence(title: str, source: str = "trust.md 3.1") -> Callable[[Callable[[Sequence], None]], None]:
    """File a function as the sequence of its name."""

    def file(make: Callable[[Sequence], None]) -> None:
        SEQUENCES[make.__name__] = (title, source, make)

    return file


@sequence("ordinary update")
def ordinary_update(s: Sequence) -> None:
    s.step("ok", "ok", director_version=1, paths=[ONE])
    s.news()
    s.step("ok", "ok", director_version=2, paths=[ONE, TWO])


@sequence("replay of an older complete answer")
def replay_of_an_older_answer(s: Sequence) -> None:
    older = s.start()
    s.news()
    s.step("ok", "ok", director_version=2)
    s.step("rollback", "refused", older, director_version=2)


@sequence("new content, same timestamp version")
def new_content_same_timestamp_version(s: Sequence) -> None:
    s.start()
    s.simulator.put(TWO, b'{"two":2}')
    for repository in (s.config, s.director):
        repository.publish(*repository.roles, "targets", "snapshot")
        repository.publish("timestamp", version=1)
    s.step("rollback", "refused", director_version=1)


@sequence("new content under an already used targets version")
def new_content_under_a_used_targets_version(s: Sequence) -> None:
    s.start()
    s.simulator.put(ONE, b'{"one":2}')
    s.config.publish()
    s.director.publish("targets", version=1)
    s.director.publish("snapshot", "timestamp")
    s.step("rollback", "refused", director_version=1)


@sequence("newer timestamp and snapshot that go back to older director targets")
def newer_timestamp_to_older_targets(s: Sequence) -> None:
    s.start()
    older, older_files = s.director.documents["targets"], dict(s.simulator.files)
    s.news()
    s.step("ok", "ok", director_version=2)
    s.director.documents["targets"], s.director.versions["targets"] = older, 1
    s.simulator.files = older_files
    s.director.publish("snapshot", "timestamp")
    # That client's check of the targets version is a known gap.
    s.step("rollback", "ok", director_version=2)


@sequence("expired director timestamp")
def expired_timestamp(s: Sequence) -> None:
    s.start()
    s.director.expires["timestamp"] = PAST
    s.news()
    s.step("expired", "refused", director_version=1)


@sequence("expired director targets")
def expired_director_targets(s: Sequence) -> None:
    s.start()
    s.director.expires["targets"] = PAST
    s.news()
    s.step("expired", "refused", director_version=1)


@sequence("expired delegated targets")
def expired_delegated_targets(s: Sequence) -> None:
    s.start()
    s.config.expires["ASM_DATA"] = PAST
    s.news()
    s.step("expired", "refused", director_version=1)


@sequence("a target only in the director")
def target_only_in_the_director(s: Sequence) -> None:
    s.start()
    s.director.list(TWO, b'{"two":2}')
    s.simulator.files[TWO] = b'{"two":2}'
    s.director.publish()
    s.step("disagreement", "refused", director_version=1, paths=[ONE])


@sequence("a target listed by a product role outside its path")
def role_outside_its_path(s: Sequence) -> None:
    s.start()
    s.config.list(OTHER_PRODUCT, b"{}", role="ASM_DATA")
    s.director.list(OTHER_PRODUCT, b"{}")
    s.simulator.files[OTHER_PRODUCT] = b"{}"
    s.simulator.publish()
    s.step("disagreement", "refused", director_version=1)


@sequence("tampered file")
def tampered_file(s: Sequence) -> None:
    s.start()
    s.news()
    honest = s.simulator.answer()
    swapped = {path: raw.replace(b"2", b"3") if b"two" in raw else raw for path, raw in honest.files.items()}
    s.step("digest", "refused", edited(honest, files=swapped), director_version=1)
    s.step("ok", "ok", honest, director_version=2)


@sequence("older snapshot under a newer timestamp (mix-and-match)")
def older_snapshot_under_newer_timestamp(s: Sequence) -> None:
    first = s.start()
    s.news()
    mixed = edited(s.simulator.answer(), director={"snapshot": first.director.snapshot})
    s.step("digest", "refused", mixed, director_version=1)


@sequence("director silently drops one target (partial bundle)")
def partial_bundle(s: Sequence) -> None:
    s.news()
    s.start()
    del s.director.targets[TWO]
    s.director.publish()
    s.step("ok", "ok", paths=[ONE])


@sequence("a delegated role disappears from the config snapshot")
def role_disappears_from_the_snapshot(s: Sequence) -> None:
    s.simulator.put(OTHER_PRODUCT, b"{}")
    s.simulator.publish()
    s.start()
    del s.director.targets[OTHER_PRODUCT]
    del s.config.roles["ASM_DD"], s.config.documents["ASM_DD"]
    s.simulator.publish()
    s.step("rollback", "ok", director_version=2)


@sequence("that role emptied instead")
def role_emptied(s: Sequence) -> None:
    s.simulator.put(OTHER_PRODUCT, b"{}")
    s.simulator.publish()
    s.start()
    s.simulator.retire(OTHER_PRODUCT)
    s.simulator.publish()
    s.step("ok", "ok", paths=[ONE])


@sequence("new root without the old keys' signatures")
def root_without_the_old_keys(s: Sequence) -> None:
    s.start()
    s.director.signers["root"] = [s.director.new_key() for _ in range(3)]
    s.director.publish_root()
    s.news()
    s.step("threshold", "refused", director_root=1, director_version=1)


@sequence("root gap (N+2 without N+1)")
def root_gap(s: Sequence) -> None:
    s.start()
    s.director.rotate("root")
    s.director.rotate("root")
    s.news()
    first, _, third = s.director.roots
    gap = edited(s.simulator.answer(), director={"roots": (first, third)})
    s.step("ok", "ok", gap, director_root=1, director_version=2)


@sequence("last root expired")
def last_root_expired(s: Sequence) -> None:
    s.start()
    s.director.expires["root"] = PAST
    s.director.rotate()
    s.news()
    s.step("expired", "refused", director_root=1, director_version=1)


@sequence("an expired root on the way to a live one")
def expired_root_on_the_way(s: Sequence) -> None:
    s.config.expires["root"] = PAST
    s.config.rotate("root")
    del s.config.expires["root"]
    s.config.rotate("root")
    s.step("ok", "ok", config_root=3)


@sequence("online keys rotated in the same answer as new metadata")
def online_keys_rotated_with_news(s: Sequence) -> None:
    s.start()
    for repository in (s.director, s.config):
        repository.rotate("timestamp", "snapshot", "targets")
    s.news()
    s.step("ok", "ok", director_root=2, config_root=2, director_version=2)


def _fast_forward(s: Sequence, thrown: list[str], rotated: list[str]) -> None:
    s.start()
    s.simulator.fast_forward("director", *thrown)
    if "targets" not in thrown:
        s.director.versions["targets"] = 2
    s.step("ok", "ok")
    for role in thrown:
        s.director.versions[role] = 2
    s.director.rotate(*rotated)
    s.simulator.publish()
    s.step("ok", "ok", director_version=3, director_root=2)


@sequence("versions thrown to 10^9, then only the timestamp key rotated")
def fast_forward_timestamp_rotated(s: Sequence) -> None:
    _fast_forward(s, ["timestamp", "snapshot"], ["timestamp"])


@sequence("versions thrown to 10^9, then timestamp and snapshot keys rotated")
def fast_forward_timestamp_and_snapshot_rotated(s: Sequence) -> None:
    _fast_forward(s, ["timestamp", "snapshot"], ["timestamp", "snapshot"])


@sequence("targets version thrown too, then timestamp and snapshot keys rotated")
def fast_forward_targets_too(s: Sequence) -> None:
    _fast_forward(s, ["timestamp", "snapshot", "targets"], ["timestamp", "snapshot"])


@sequence("targets version thrown too, then timestamp, snapshot and targets keys rotated")
def fast_forward_all_rotated(s: Sequence) -> None:
    _fast_forward(s, ["timestamp", "snapshot", "targets"], ["timestamp", "snapshot", "targets"])


@sequence("versions thrown to 10^9 and taken back without any new key")
def fast_forward_without_rotation(s: Sequence) -> None:
    s.start()
    s.simulator.fast_forward("director", "timestamp", "snapshot", "targets")
    s.step("ok", "ok", director_version=10**9 + 1)
    for role in ("timestamp", "snapshot", "targets"):
        s.director.versions[role] = 2
    s.simulator.publish()
    s.step("rollback", "refused", director_version=10**9 + 1)


@sequence("second answer empty")
def second_answer_empty(s: Sequence) -> None:
    s.start()
    # A verifier that keeps what it verified needs nothing more; one that does not has to ask for all again.
    s.step("ok", "refused", Answer(RepositoryParts(), RepositoryParts()), director_version=1, paths=[ONE])


@sequence("first answer empty")
def first_answer_empty(s: Sequence) -> None:
    s.step("missing", "refused", Answer(RepositoryParts(), RepositoryParts()), director_version=0)


_NO_TARGETS: dict[str, Any] = {"roots": (), "targets": None}


@sequence("second answer: timestamps only")
def second_answer_timestamps_only(s: Sequence) -> None:
    answer = s.start()
    only = {**_NO_TARGETS, "snapshot": None}
    s.step("ok", "ok", edited(answer, director=only, config={**only, "delegated": {}}, files={}), paths=[ONE])


@sequence("second answer: timestamps and snapshots, targets omitted")
def second_answer_without_targets(s: Sequence) -> None:
    s.start()
    for repository in (s.director, s.config):
        repository.publish("snapshot", "timestamp")
    answer = edited(
        s.simulator.answer(), director=_NO_TARGETS, config={**_NO_TARGETS, "delegated": {}}, files={}
    )
    s.step("ok", "ok", answer, director_version=1, config_snapshot=2, paths=[ONE])


@sequence("second answer: config metas omitted")
def second_answer_without_config(s: Sequence) -> None:
    s.start()
    s.director.publish()
    s.step("ok", "refused", replace(s.simulator.answer(), config=RepositoryParts()), paths=[ONE])


@sequence("config root and targets key rotated, config top targets omitted")
def rotation_without_top_targets(s: Sequence) -> None:
    s.start()
    s.config.rotate("timestamp", "snapshot", "targets")
    s.simulator.publish()
    s.step("missing", "refused", edited(s.simulator.answer(), config={"targets": None}), config_root=1)
    s.step("ok", "ok", config_root=2)


@sequence("new delegation without a new top-targets version")
def new_delegation_without_new_targets_version(s: Sequence) -> None:
    s.start()
    s.simulator.put(OTHER_PRODUCT, b"{}")
    s.config.publish("ASM_DD", "snapshot", "timestamp")
    s.config.publish("targets", version=1)
    s.config.publish("snapshot", "timestamp")
    s.director.publish()
    s.step("rollback", "refused", director_version=1)


LIBDATADOG = "trust.md 4.2, libdatadog"


@sequence("an error, then recovery with the honest answer", LIBDATADOG)
def error_then_recovery(s: Sequence) -> None:
    s.step("missing", "refused", edited(s.simulator.answer(), files={}), director_version=0)
    s.step("ok", "ok", director_version=1, paths=[ONE])


@sequence("the config repository signs one hash more than the director", LIBDATADOG)
def hash_superset(s: Sequence) -> None:
    role = s.config.roles["ASM_DATA"]
    signed = targets_signed(version=2, expires=datetime(2100, 1, 1, tzinfo=UTC), targets=role.targets)
    written: Any = signed["targets"]
    written[ONE]["hashes"]["sha512"] = hashlib.sha512(s.simulator.files[ONE]).hexdigest()
    s.config.documents["ASM_DATA"] = sign_anything(signed, role.signers)
    s.config.versions["ASM_DATA"] = 2
    s.config.publish("snapshot", "timestamp")
    s.step("disagreement", "refused", director_version=0)


@sequence("director and config repository differ in length", LIBDATADOG)
def length_disagreement(s: Sequence) -> None:
    s.director.list(ONE, b'{"one":1} ')
    s.simulator.files[ONE] = b'{"one":1} '
    s.simulator.publish()
    s.step("disagreement", "refused", director_version=0)


@sequence("director and config repository differ in hash", LIBDATADOG)
def hash_disagreement(s: Sequence) -> None:
    s.director.list(ONE, b'{"one":9}')
    s.simulator.files[ONE] = b'{"one":9}'
    s.simulator.publish()
    s.step("disagreement", "refused", director_version=0)


@sequence("org UUID in the snapshot is that of the organisation", LIBDATADOG)
def org_uuid_match(s: Sequence) -> None:
    s.step("ok", "ok", director_version=1)


@sequence("org UUID in the snapshot is that of another organisation", LIBDATADOG)
def org_uuid_mismatch(s: Sequence) -> None:
    s.step("disagreement", "refused", org_uuid=OTHER_ORG, director_version=0)


@sequence("no org UUID in the snapshot", LIBDATADOG)
def org_uuid_absent(s: Sequence) -> None:
    del s.config.custom["snapshot"]
    s.simulator.publish()
    s.step("ok", "ok", org_uuid=OTHER_ORG, director_version=2)


@sequence("org UUID changes together with the config root, and is asked for again", LIBDATADOG)
def org_uuid_renewed_by_a_root(s: Sequence) -> None:
    s.start()
    s.config.rotate("root")
    s.config.custom["snapshot"] = {"org_uuid": OTHER_ORG}
    s.simulator.publish()
    s.step("ok", "ok", org_uuid=OTHER_ORG, config_root=2, director_version=2)


@sequence("config root rotated with the online keys kept, config top targets omitted", LIBDATADOG)
def root_rotation_that_keeps_the_targets_key(s: Sequence) -> None:
    s.start()
    s.config.rotate("root")
    s.config.publish("snapshot", "timestamp")
    s.director.publish()
    s.step("ok", "ok", edited(s.simulator.answer(), config={"targets": None}), config_root=2)


@sequence("a product role of threshold two, signed by both and then by one", "trust.md 1.2")
def product_of_threshold_two(s: Sequence) -> None:
    role = s.config.delegate("ASM_DD", ["datadog/*/ASM_DD/*/*"], keys=2, threshold=2)
    s.simulator.put(OTHER_PRODUCT, b"{}")
    s.simulator.publish()
    s.step("ok", "ok", director_version=2)
    s.config.sign_with["ASM_DD"] = role.signers[:1]
    s.simulator.publish()
    s.step("threshold", "refused", director_version=2)


@sequence("a document signed with a key nobody announced", "trust.md 3.2")
def wrong_key(s: Sequence) -> None:
    s.start()
    s.director.sign_with["targets"] = [s.director.new_key()]
    s.news()
    s.step("threshold", "refused", director_version=1)


def _parts(parts: RepositoryParts) -> dict[str, Any]:
    return {
        "roots": [_text(raw) for raw in parts.roots],
        "timestamp": _text(parts.timestamp),
        "snapshot": _text(parts.snapshot),
        "targets": _text(parts.targets),
    }


def _encoded(raws: Any) -> dict[str, str | None]:
    return {name: _text(raw) for name, raw in sorted(raws.items())}


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode("ascii")


def built() -> Iterator[tuple[str, str]]:
    """Name and text of every file."""
    for name, (title, source, make) in SEQUENCES.items():
        made = Sequence(name)
        make(made)
        document = {
            "title": title,
            "source": source,
            "director_root": _text(made.director.roots[0]),
            "config_root": _text(made.config.roots[0]),
            "org_uuid": ORG_UUID,
            "steps": made.steps,
        }
        canonical_bytes(document)
        yield f"{name}.json", json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> None:
    for old in HERE.glob("*.json"):
        old.unlink()
    for name, text in built():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
