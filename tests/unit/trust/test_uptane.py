"""An answer is believed whole or not at all, and only what both repositories say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sealwire.errors import (
    DigestError,
    DisagreementError,
    ExpiredError,
    MalformedError,
    MissingError,
    OversizeError,
    RollbackError,
    ThresholdError,
    UntrustedError,
)
from sealwire.trust.canonical import sha256_hex
from sealwire.trust.uptane import MAX_FILE_BYTES, Answer, RepositoryParts, TrustedState
from tests.support.repository import FAR, NOW, Simulator, edited, prefixed_path

BLOCKED = "datadog/2/ASM_DATA/blocked/config"
PROBE = "datadog/2/LIVE_DEBUGGING/probe/config"
NOTHING = Answer(RepositoryParts(), RepositoryParts())


@pytest.fixture
def simulator() -> Simulator:
    """One published config."""
    simulator = Simulator()
    simulator.put(BLOCKED, b'{"rules_data":[]}', v=3)
    simulator.publish()
    return simulator


@pytest.fixture
def state(simulator: Simulator) -> TrustedState:
    """An Agent that has it."""
    return simulator.update(simulator.bootstrap())


def test_before_the_first_answer_nothing_is_known(simulator: Simulator) -> None:
    state = simulator.bootstrap()

    assert (state.director_version, state.config_snapshot_version) == (0, 0)
    assert (state.director_root_version, state.config_root_version) == (1, 1)
    assert state.targets == {}
    assert state.director_targets_raw is None
    assert state.director_timestamp_expires is None
    assert state.expires_by_role() == {"director/root": FAR, "config/root": FAR}


def test_a_first_answer_is_believed(simulator: Simulator, state: TrustedState) -> None:
    target = state.targets[BLOCKED]

    assert target.raw == b'{"rules_data":[]}'
    assert (target.length, target.sha256) == (17, sha256_hex(target.raw))
    assert target.custom == {"v": 3}
    assert (state.director_version, state.config_snapshot_version) == (1, 1)
    assert state.opaque_backend_state == b'{"v":1}'
    assert state.refresh_interval_s == 5
    assert state.director_targets_raw == simulator.director.documents["targets"]
    assert state.director_timestamp_expires == FAR


def test_an_empty_first_answer_is_refused(simulator: Simulator) -> None:
    with pytest.raises(MissingError, match="director's timestamp did not come"):
        simulator.update(simulator.bootstrap(), NOTHING)


@pytest.mark.parametrize("prefixed", [True, False], ids=["prefixed", "plain"])
def test_files_are_found_under_both_of_their_names(prefixed: bool) -> None:
    simulator = Simulator()
    simulator.put(BLOCKED, b"blocked")
    simulator.put("datadog/2/ASM_DATA/1.2.3/config", b"dots in the id do no harm")
    simulator.publish()

    state = simulator.update(simulator.bootstrap(), simulator.answer(prefixed=prefixed))

    assert len(state.targets) == 2


def test_the_prefix_of_a_file_is_not_what_makes_it_right(simulator: Simulator) -> None:
    answer = edited(
        simulator.answer(), files={"datadog/2/ASM_DATA/blocked/0000.config": b'{"rules_data":[]}'}
    )

    assert BLOCKED in simulator.update(simulator.bootstrap(), answer).targets


def test_a_file_nobody_asked_for_is_ignored(simulator: Simulator) -> None:
    answer = simulator.answer()
    more = edited(answer, files={**answer.files, "datadog/2/ASM_DATA/other/config": b"?"})

    assert simulator.update(simulator.bootstrap(), more).targets.keys() == {BLOCKED}


def test_a_file_that_is_held_need_not_come_again(simulator: Simulator, state: TrustedState) -> None:
    simulator.put(PROBE, b"{}")
    simulator.publish()
    answer = edited(simulator.answer(), files={prefixed_path(PROBE, b"{}"): b"{}"})

    after = simulator.update(state, answer)

    assert after.targets.keys() == {BLOCKED, PROBE}
    assert after.targets[BLOCKED].raw is state.targets[BLOCKED].raw


def test_a_file_that_changed_must_come(simulator: Simulator, state: TrustedState) -> None:
    simulator.put(BLOCKED, b"other")
    simulator.publish()

    with pytest.raises(MissingError, match=BLOCKED):
        simulator.update(state, edited(simulator.answer(), files={}))


def test_a_held_file_that_the_director_no_longer_lists_is_not_kept(
    simulator: Simulator, state: TrustedState
) -> None:
    del simulator.director.targets[BLOCKED]
    simulator.director.publish()

    after = simulator.update(state)

    assert after.targets == {}
    simulator.put(BLOCKED, b'{"rules_data":[]}')
    simulator.publish()
    with pytest.raises(MissingError):
        simulator.update(after, edited(simulator.answer(), files={}))


def test_a_new_custom_reaches_a_file_that_is_held(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.list(BLOCKED, b'{"rules_data":[]}', v=9)
    simulator.director.publish()

    after = simulator.update(state, edited(simulator.answer(), files={}))

    assert after.targets[BLOCKED].custom == {"v": 9}


def test_a_tampered_file_is_refused(simulator: Simulator) -> None:
    files = {path: raw + b" " for path, raw in simulator.answer().files.items()}

    with pytest.raises(DigestError, match=BLOCKED):
        simulator.update(simulator.bootstrap(), edited(simulator.answer(), files=files))


def test_a_refused_answer_changes_nothing(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.rotate("timestamp")
    simulator.put(PROBE, b"{}")
    simulator.publish()
    before = state.dump()

    with pytest.raises(MissingError):
        simulator.update(state, edited(simulator.answer(), files={}))

    assert state.dump() == before
    assert state.director_root_version == 1


@pytest.mark.parametrize("what", ["everything again", "nothing", "timestamps and snapshots"])
def test_an_answer_without_news_gives_back_the_same_state(
    simulator: Simulator, state: TrustedState, what: str
) -> None:
    without_targets = {"roots": (), "targets": None, "delegated": {}}
    answers = {
        "everything again": simulator.answer(),
        "nothing": NOTHING,
        "timestamps and snapshots": edited(
            simulator.answer(), files={}, director=without_targets, config=without_targets
        ),
    }

    assert simulator.update(state, answers[what]) is state


def test_renewed_timestamps_alone_move_the_expiry(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.expires["timestamp"] = FAR + timedelta(days=1)
    simulator.director.publish("timestamp")
    simulator.config.publish("timestamp")
    only = {"roots": (), "snapshot": None, "targets": None}
    answer = edited(simulator.answer(), files={}, director=only, config={**only, "delegated": {}})

    after = simulator.update(state, answer)

    assert after.director_timestamp_expires == FAR + timedelta(days=1)
    assert after.targets is state.targets


def test_a_product_that_was_published_before_it_was_wanted_is_found(simulator: Simulator) -> None:
    """The config repository is unchanged then, and the role that is needed now comes for the first time."""
    simulator.put(PROBE, b"{}")
    del simulator.director.targets[PROBE]
    simulator.publish()
    state = simulator.update(simulator.bootstrap())
    assert "config/LIVE_DEBUGGING" not in state.expires_by_role()
    simulator.director.list(PROBE, b"{}")
    simulator.director.publish()

    after = simulator.update(state)

    assert PROBE in after.targets
    assert after.config.timestamp is state.config.timestamp
    assert "config/LIVE_DEBUGGING" in after.expires_by_role()


def test_delegated_documents_that_no_path_needs_may_be_left_out(simulator: Simulator) -> None:
    simulator.put(PROBE, b"{}")
    del simulator.director.targets[PROBE]
    simulator.publish()
    needed = {"ASM_DATA": simulator.config.documents["ASM_DATA"]}

    state = simulator.update(simulator.bootstrap(), edited(simulator.answer(), config={"delegated": needed}))

    assert state.targets.keys() == {BLOCKED}


def test_a_delegated_document_that_is_needed_must_come(simulator: Simulator) -> None:
    with pytest.raises(MissingError, match="config repository's ASM_DATA of version 1 did not come"):
        simulator.update(simulator.bootstrap(), edited(simulator.answer(), config={"delegated": {}}))


def test_delegations_may_be_nested(simulator: Simulator) -> None:
    path = "datadog/2/NESTED/deep/config"
    simulator.config.delegate("OUTER", ["datadog/2/NESTED/*/*"])
    simulator.config.delegate("INNER", ["datadog/2/NESTED/d*/*"], parent="OUTER")
    simulator.config.list(path, b"deep", role="INNER")
    simulator.director.list(path, b"deep")
    simulator.files[path] = b"deep"
    simulator.publish()

    state = simulator.update(simulator.bootstrap())

    assert state.targets[path].raw == b"deep"
    assert {"config/OUTER", "config/INNER"} <= state.expires_by_role().keys()


def test_a_terminating_role_without_the_file_ends_the_search(simulator: Simulator) -> None:
    path = "datadog/2/TWICE/x/config"
    simulator.config.delegate("FIRST", ["datadog/2/TWICE/*/*"])
    simulator.config.delegate("SECOND", ["datadog/2/TWICE/*/*"])
    simulator.config.list(path, b"x", role="SECOND")
    simulator.director.list(path, b"x")
    simulator.files[path] = b"x"
    simulator.publish()
    with pytest.raises(DisagreementError, match="the config repository does not"):
        simulator.update(simulator.bootstrap())

    simulator.config.roles["FIRST"].terminating = False
    simulator.publish()

    assert path in simulator.update(simulator.bootstrap()).targets


@pytest.mark.parametrize(("before_it", "found"), [(30, True), (31, False)])
def test_at_most_thirty_two_roles_are_visited_for_a_path(before_it: int, found: bool) -> None:
    simulator = Simulator()
    path = "datadog/2/MANY/x/config"
    for number in range(before_it + 1):
        simulator.config.delegate(f"R{number:02d}", ["datadog/2/MANY/*/*"]).terminating = False
    simulator.config.list(path, b"x", role=f"R{before_it:02d}")
    simulator.director.list(path, b"x")
    simulator.files[path] = b"x"
    simulator.publish()

    if found:
        assert path in simulator.update(simulator.bootstrap()).targets
    else:
        with pytest.raises(DisagreementError):
            simulator.update(simulator.bootstrap())


def test_a_role_cannot_speak_for_a_path_it_was_not_given(simulator: Simulator) -> None:
    simulator.config.list(PROBE, b"{}", role="ASM_DATA")
    simulator.director.list(PROBE, b"{}")
    simulator.files[PROBE] = b"{}"
    simulator.publish()

    with pytest.raises(DisagreementError, match=PROBE):
        simulator.update(simulator.bootstrap())


def test_a_file_only_the_director_knows_is_refused(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.list("datadog/2/ASM_DATA/planted/config", b"evil")
    simulator.files["datadog/2/ASM_DATA/planted/config"] = b"evil"
    simulator.director.publish()

    with pytest.raises(DisagreementError, match="planted"):
        simulator.update(state)


def test_different_contents_in_the_two_repositories_are_refused(simulator: Simulator) -> None:
    for raw, what in ((b'{"rules_data":{}}', "different hashes"), (b"longer" * 9, "a length of 54")):
        simulator.director.list(BLOCKED, raw)
        simulator.files[BLOCKED] = raw
        simulator.director.publish()

        with pytest.raises(DisagreementError, match=what):
            simulator.update(simulator.bootstrap())


def test_an_answer_for_another_organisation_is_refused(simulator: Simulator) -> None:
    with pytest.raises(DisagreementError, match="another organisation"):
        simulator.bootstrap().update(
            simulator.answer(), now=NOW, org_uuid="00000000-0000-0000-0000-000000000000"
        )


@pytest.mark.parametrize(("signed", "known"), [(None, "uuid"), ("uuid", None), ("uuid", "uuid")])
def test_the_organisation_is_checked_only_where_both_sides_name_one(
    signed: str | None, known: str | None
) -> None:
    simulator = Simulator(org_uuid=signed)
    simulator.put(BLOCKED, b"{}")
    simulator.publish()

    state = simulator.bootstrap().update(simulator.answer(), now=NOW, org_uuid=known)

    assert state.org_uuid_for_root() == 1


def test_a_role_that_vanishes_from_the_snapshot_is_refused(simulator: Simulator, state: TrustedState) -> None:
    simulator.config.hidden_roles.add("ASM_DATA")
    simulator.config.publish()

    with pytest.raises(RollbackError, match="config repository's snapshot, version 2, no longer lists"):
        simulator.update(state)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("repository", ["director", "config"])
def test_other_contents_under_a_version_that_is_trusted_are_refused(
    simulator: Simulator, state: TrustedState, repository: str, role: str
) -> None:
    """What a control plane does that lost its database, or a thief of one online key."""
    chosen = getattr(simulator, repository)
    chosen.expires[role] = FAR + timedelta(days=1)
    chosen.publish(role, version=1)
    if role == "targets":
        chosen.publish("snapshot", "timestamp")
    elif role == "snapshot":
        chosen.publish("timestamp")

    with pytest.raises(RollbackError, match=rf"{role} came again as version 1 with other contents"):
        simulator.update(state)


def test_an_older_answer_is_refused(simulator: Simulator, state: TrustedState) -> None:
    older = simulator.answer()
    simulator.publish()
    state = simulator.update(state)

    with pytest.raises(RollbackError) as refused:
        simulator.update(state, older)

    assert refused.value.public == (
        "The director's timestamp came as version 1, and version 2 is trusted already."
    )


def test_a_snapshot_of_another_time_is_refused(simulator: Simulator, state: TrustedState) -> None:
    older = simulator.director.documents["snapshot"]
    simulator.publish()

    with pytest.raises(DigestError, match="director's snapshot, version 1, is not the document of version 2"):
        simulator.update(simulator.bootstrap(), edited(simulator.answer(), director={"snapshot": older}))


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("repository", ["director", "config"])
def test_an_expired_document_is_refused(simulator: Simulator, repository: str, role: str) -> None:
    chosen = getattr(simulator, repository)
    chosen.expires[role] = NOW - timedelta(seconds=1)
    if role == "root":
        chosen.rotate()
    simulator.publish()

    with pytest.raises(ExpiredError, match=rf"{role}.* expired") as refused:
        simulator.update(simulator.bootstrap())

    assert ("director" in refused.value.public) == (repository == "director")


def test_a_document_is_expired_at_the_very_moment(simulator: Simulator) -> None:
    simulator.director.expires["timestamp"] = NOW
    simulator.publish()
    state, answer = simulator.bootstrap(), simulator.answer()

    state.update(answer, now=NOW - timedelta(seconds=1), org_uuid=None)
    with pytest.raises(ExpiredError):
        state.update(answer, now=NOW, org_uuid=None)


def test_an_expired_delegated_document_is_refused_also_when_nothing_else_is_new(simulator: Simulator) -> None:
    simulator.config.expires["ASM_DATA"] = NOW + timedelta(days=1)
    simulator.publish()
    state = simulator.update(simulator.bootstrap())

    with pytest.raises(ExpiredError, match="ASM_DATA, version 2, expired at 2026-11-23 12:00:00 UTC"):
        state.update(NOTHING, now=NOW + timedelta(days=1), org_uuid=None)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "ASM_DATA"])
def test_a_document_signed_with_a_key_nobody_announced_is_refused(simulator: Simulator, role: str) -> None:
    simulator.config.sign_with[role] = [simulator.config.new_key()]
    simulator.publish()

    with pytest.raises(ThresholdError, match=f"config repository's {role}, version 2, does not have enough"):
        simulator.update(simulator.bootstrap())


def test_a_product_of_threshold_two_needs_two_signatures(simulator: Simulator) -> None:
    role = simulator.config.delegate("AGENT_TASK", ["datadog/*/AGENT_TASK/*/*"], keys=2, threshold=2)
    path = "datadog/2/AGENT_TASK/flare/config"
    simulator.put(path, b"{}")
    simulator.publish()
    assert path in simulator.update(simulator.bootstrap()).targets

    simulator.config.sign_with["AGENT_TASK"] = role.signers[:1]
    simulator.publish()

    with pytest.raises(ThresholdError, match="AGENT_TASK"):
        simulator.update(simulator.bootstrap())


def test_a_root_the_old_keys_did_not_sign_is_refused(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.signers["root"] = [simulator.director.new_key() for _ in range(3)]
    simulator.director.publish_root()

    with pytest.raises(ThresholdError, match="director's root, version 2"):
        simulator.update(state)


def test_a_root_its_own_keys_did_not_sign_is_refused(simulator: Simulator, state: TrustedState) -> None:
    old = simulator.director.signers["root"]
    simulator.director.signers["root"] = [simulator.director.new_key() for _ in range(3)]
    simulator.director.sign_with["root"] = old
    simulator.director.publish_root()

    with pytest.raises(ThresholdError, match="director's root, version 2"):
        simulator.update(state)


def test_a_gap_in_the_roots_is_not_jumped(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.rotate("root")
    simulator.director.rotate("root")
    first, _, third = simulator.director.roots

    after = simulator.update(state, edited(simulator.answer(), director={"roots": (first, third)}))

    assert after.director_root_version == 1


def test_roots_come_in_any_order_and_are_all_kept(simulator: Simulator, state: TrustedState) -> None:
    for _ in range(3):
        simulator.director.rotate("root")
    simulator.director.rotate("timestamp", "snapshot", "targets")
    simulator.publish()
    backwards = tuple(reversed(simulator.director.roots))

    after = simulator.update(state, edited(simulator.answer(), director={"roots": backwards}))

    assert after.director_root_version == 5
    assert after.director_roots_after(0) == simulator.director.roots
    assert after.director_roots_after(3) == simulator.director.roots[3:]
    assert after.director_roots_after(5) == []


def test_an_expired_root_on_the_way_is_followed(simulator: Simulator) -> None:
    simulator.config.expires["root"] = NOW - timedelta(days=400)
    simulator.config.rotate("root")
    simulator.config.expires["root"] = FAR
    simulator.config.rotate("root")

    assert simulator.update(simulator.bootstrap()).config_root_version == 3


def test_an_anchor_may_be_expired_if_it_leads_to_a_live_root() -> None:
    simulator = Simulator()
    simulator.director.roots.clear()
    simulator.director.versions["root"] = 0
    simulator.director.expires["root"] = NOW - timedelta(days=20_000)
    simulator.director.publish_root()
    simulator.publish()
    with pytest.raises(ExpiredError, match="director's root, version 1, expired"):
        simulator.update(simulator.bootstrap())

    simulator.director.expires["root"] = FAR
    simulator.director.rotate()

    assert simulator.update(simulator.bootstrap()).director_root_version == 2


@pytest.mark.parametrize(
    ("thrown", "rotated"),
    [
        (["timestamp"], ["timestamp"]),
        (["timestamp", "snapshot"], ["timestamp", "snapshot"]),
        (["timestamp", "snapshot"], ["timestamp"]),
        (["targets"], ["snapshot"]),
        (["targets"], ["targets"]),
        (["timestamp", "snapshot", "targets"], ["timestamp", "snapshot"]),
        (["timestamp", "snapshot", "targets"], ["timestamp", "snapshot", "targets"]),
    ],
    ids=lambda roles: "+".join(roles),
)
def test_a_new_root_recovers_from_versions_thrown_ahead(
    simulator: Simulator, state: TrustedState, thrown: list[str], rotated: list[str]
) -> None:
    good = dict(simulator.director.versions)
    simulator.fast_forward("director", *thrown)
    simulator.director.publish("timestamp", version=max(2, simulator.director.versions["timestamp"]) + 1)
    state = simulator.update(state)
    for role in thrown:
        simulator.director.versions[role] = good[role] + 1

    simulator.director.publish()
    with pytest.raises(RollbackError):
        simulator.update(state)
    simulator.director.rotate(*rotated)
    if "timestamp" not in thrown:
        simulator.director.versions["timestamp"] += 1
    simulator.director.publish()

    after = simulator.update(state)
    for role in thrown:
        assert after.director.version(role) < 10


def test_rotating_a_key_does_not_forget_what_it_signed_if_a_threshold_remains(simulator: Simulator) -> None:
    """Otherwise every planned rotation of one key in three would open the door to a rollback."""
    keys = simulator.director.signers["timestamp"] = [simulator.director.new_key() for _ in range(3)]
    simulator.director.thresholds["timestamp"] = 2
    simulator.director.rotate()
    simulator.director.publish(version=50)
    state = simulator.update(simulator.bootstrap())

    keys[0] = simulator.director.new_key()
    simulator.director.rotate()
    simulator.director.publish(version=49)

    with pytest.raises(RollbackError, match="version 49, and version 50 is trusted already"):
        simulator.update(state)


def test_after_such_a_rotation_the_same_timestamp_counts_only_with_the_new_signatures(
    simulator: Simulator,
) -> None:
    all_keys = simulator.director.signers["timestamp"] = [simulator.director.new_key() for _ in range(3)]
    simulator.director.thresholds["timestamp"] = 2
    simulator.director.rotate()
    simulator.director.sign_with["timestamp"] = all_keys[:2]
    simulator.director.publish()
    state = simulator.update(simulator.bootstrap())
    all_keys[0] = simulator.director.new_key()
    simulator.director.rotate()
    with pytest.raises(ThresholdError, match="director's timestamp"):
        simulator.update(state)
    with pytest.raises(MissingError, match="director's timestamp"):
        simulator.update(state, edited(simulator.answer(), director={"timestamp": None}))

    simulator.director.sign_with["timestamp"] = all_keys[1:]
    simulator.director.publish("timestamp", version=state.director.version("timestamp"))

    after = simulator.update(state)
    assert after.director.timestamp is not None
    assert after.director.timestamp.raw == simulator.director.documents["timestamp"]


def test_new_keys_and_new_metadata_may_come_in_one_answer(simulator: Simulator, state: TrustedState) -> None:
    simulator.config.rotate("root", "timestamp", "snapshot", "targets")
    simulator.director.rotate("timestamp", "snapshot", "targets")
    simulator.put(PROBE, b"{}")
    simulator.publish()

    after = simulator.update(state)

    assert after.targets.keys() == {BLOCKED, PROBE}
    assert (after.config_root_version, after.director_root_version) == (2, 2)


def test_after_a_new_config_root_the_old_targets_are_not_believed_any_more(
    simulator: Simulator, state: TrustedState
) -> None:
    simulator.config.rotate("targets")
    simulator.config.publish("targets", "snapshot", "timestamp")

    with pytest.raises(MissingError, match="config repository's targets of version 2"):
        simulator.update(state, edited(simulator.answer(), config={"targets": None}))


def test_a_new_config_root_that_keeps_the_targets_key_needs_no_new_targets(
    simulator: Simulator, state: TrustedState
) -> None:
    simulator.config.rotate("root")

    after = simulator.update(
        state, edited(simulator.answer(), config={"targets": None, "delegated": {}, "timestamp": None})
    )

    assert after.config_root_version == 2


def test_a_delegated_role_with_new_keys_must_be_signed_with_them(
    simulator: Simulator, state: TrustedState
) -> None:
    simulator.config.roles["ASM_DATA"].signers = [simulator.config.new_key()]
    simulator.config.publish("targets", "snapshot", "timestamp")
    with pytest.raises(ThresholdError, match="ASM_DATA"):
        simulator.update(state)

    simulator.config.publish()

    assert simulator.update(state).config.version("ASM_DATA") == 2


@pytest.mark.parametrize(
    ("part", "size"),
    [("timestamp", 16_385), ("snapshot", 2_000_001), ("targets", 1_000_001), ("roots", 512_001)],
)
def test_an_oversized_document_is_refused_before_it_is_read(
    simulator: Simulator, part: str, size: int
) -> None:
    raw = simulator.director.documents.get(part, simulator.director.roots[0])
    padded = raw + b" " * (size - len(raw))
    value = (padded,) if part == "roots" else padded

    with pytest.raises(OversizeError, match="director's"):
        simulator.update(simulator.bootstrap(), edited(simulator.answer(), director={part: value}))


def test_an_oversized_file_is_refused(simulator: Simulator) -> None:
    with pytest.raises(OversizeError, match="10000000 are allowed"):
        simulator.update(
            simulator.bootstrap(), edited(simulator.answer(), files={"a": bytes(MAX_FILE_BYTES + 1)})
        )


def test_too_many_files_are_refused(simulator: Simulator) -> None:
    ten = bytes(MAX_FILE_BYTES)
    files = {f"a/{number}": ten for number in range(11)}

    with pytest.raises(OversizeError, match="100000000 are allowed"):
        simulator.update(simulator.bootstrap(), edited(simulator.answer(), files=files))


@pytest.mark.parametrize("opaque", ["{}", 7, None], ids=["text", "number", "null"])
def test_a_backend_state_that_is_not_base64_is_refused(simulator: Simulator, opaque: object) -> None:
    simulator.director.custom["targets"] = {"opaque_backend_state": opaque}
    simulator.publish()

    with pytest.raises(MalformedError, match="not base64"):
        simulator.update(simulator.bootstrap())


def test_a_director_that_says_nothing_about_itself_is_believed(simulator: Simulator) -> None:
    del simulator.director.custom["targets"]
    simulator.publish()

    state = simulator.update(simulator.bootstrap())

    assert (state.opaque_backend_state, state.refresh_interval_s) == (b"", None)


def test_a_state_can_be_saved_and_restored(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.rotate("timestamp")
    simulator.config.rotate("root", "targets")
    simulator.put(PROBE, b"{}")
    simulator.publish()
    state = simulator.update(state)

    restored = TrustedState.restore(
        state.dump(),
        director_root=simulator.director.roots[0],
        config_root=simulator.config.roots[0],
        now=NOW,
    )

    assert restored == state
    simulator.publish()
    assert simulator.update(restored) == simulator.update(state)


def test_a_state_from_before_the_first_answer_can_be_restored(simulator: Simulator) -> None:
    state = simulator.bootstrap()
    roots = {"director_root": simulator.director.roots[0], "config_root": simulator.config.roots[0]}

    assert TrustedState.restore(state.dump(), **roots, now=NOW) == state


def test_a_saved_state_that_has_expired_is_restored_and_says_so(simulator: Simulator) -> None:
    soon = NOW + timedelta(days=1)
    for repository in (simulator.director, simulator.config):
        repository.expires = dict.fromkeys(("root", "timestamp", "snapshot", "targets", "ASM_DATA"), soon)
        repository.rotate()
    simulator.publish()
    state = simulator.update(simulator.bootstrap())

    restored = TrustedState.restore(
        state.dump(),
        director_root=simulator.director.roots[0],
        config_root=simulator.config.roots[0],
        now=NOW + timedelta(days=30),
    )

    assert restored.director_timestamp_expires == soon
    assert set(restored.expires_by_role().values()) == {soon}
    with pytest.raises(ExpiredError):
        restored.update(NOTHING, now=NOW + timedelta(days=30), org_uuid=None)


def test_a_saved_state_under_other_anchors_is_refused_and_says_so(state: TrustedState) -> None:
    other = Simulator(seed="another")

    with pytest.raises((ThresholdError, MalformedError), match="does not follow from the configured roots"):
        TrustedState.restore(
            state.dump(), director_root=other.director.roots[0], config_root=other.config.roots[0], now=NOW
        )


def test_every_part_of_a_saved_state_is_verified_again(simulator: Simulator, state: TrustedState) -> None:
    simulator.director.rotate("timestamp")
    simulator.publish()
    dump = simulator.update(state).dump()
    assert len(dump) == 9

    for name, raw in dump.items():
        position = len(raw) // 2
        damaged = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(UntrustedError, match="does not follow from the configured roots"):
            TrustedState.restore(
                dump | {name: damaged},
                director_root=simulator.director.roots[0],
                config_root=simulator.config.roots[0],
                now=NOW,
            )


def test_an_anchor_its_own_keys_did_not_sign_is_no_anchor(simulator: Simulator) -> None:
    for raw in (
        simulator.director.documents["targets"],
        b"{}",
        b"",
        b"[]",
        simulator.director.roots[0][:-40],
    ):
        with pytest.raises(MalformedError, match="director's root"):
            TrustedState.bootstrap(director_root=raw, config_root=simulator.config.roots[0])
    tampered = simulator.director.roots[0].replace(b'"version":1', b'"version":2')
    with pytest.raises(ThresholdError, match="director's root, version 2"):
        TrustedState.bootstrap(director_root=tampered, config_root=simulator.config.roots[0])


def test_a_state_is_a_value(state: TrustedState) -> None:
    assert replace(state) == state
    with pytest.raises(AttributeError):
        state.targets = {}  # type: ignore[misc] # the mistake itself
