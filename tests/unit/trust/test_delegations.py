"""The index finds exactly the roles that the reference library would find by trying every pattern."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole, Delegations, SuccinctRoles, Targets

from sealwire.trust.delegations import DelegationIndex

segments = st.sampled_from(["a", "ab", "abc", "b", "*", "a*", "ab*", "*b", "?", "[ab]", "a?c", "a**", ""])
patterns = st.lists(segments, min_size=1, max_size=3).map("/".join)
paths = st.lists(st.sampled_from(["a", "ab", "abc", "b", "bb", "*", ""]), min_size=1, max_size=3).map(
    "/".join
)


def targets_with(roles: list[tuple[list[str], bool]]) -> Targets:
    delegated = {
        f"ROLE{number}": DelegatedRole(f"ROLE{number}", [], 1, terminating, paths=globs)
        for number, (globs, terminating) in enumerate(roles)
    }
    return Targets(delegations=Delegations({}, delegated))


@given(st.lists(st.tuples(st.lists(patterns, max_size=3), st.booleans()), max_size=6), paths)
@example([(["a/*"], False), (["a/b*"], True), (["*/*"], False)], "a/bb")
def test_the_index_agrees_with_the_reference_library(roles: list[tuple[list[str], bool]], path: str) -> None:
    targets = targets_with(roles)
    assert targets.delegations is not None

    assert DelegationIndex(targets).roles_for(path) == list(targets.delegations.get_roles_for_target(path))


def test_a_wildcard_never_crosses_a_slash() -> None:
    index = DelegationIndex(targets_with([(["datadog/*"], True), (["datadog/*/ASM/*/*"], True)]))

    assert index.roles_for("datadog/2/ASM/x/config") == [("ROLE1", True)]


def test_roles_are_asked_in_the_order_they_are_listed() -> None:
    index = DelegationIndex(targets_with([(["*/b"], False), (["a/*"], False), (["a/b"], True)]))

    assert [name for name, _ in index.roles_for("a/b")] == ["ROLE0", "ROLE1", "ROLE2"]


def test_a_role_without_delegations_trusts_nobody() -> None:
    assert DelegationIndex(Targets()).roles_for("a/b") == []


def test_roles_by_hash_prefix_are_found_as_the_reference_library_finds_them() -> None:
    by_prefix = DelegatedRole(
        "HASHED", [], 1, True, path_hash_prefixes=["0", "1", "2", "3", "4", "5", "6", "7"]
    )
    named = Targets(delegations=Delegations({}, {"HASHED": by_prefix}))
    succinct = Targets(delegations=Delegations({}, None, SuccinctRoles([], 1, 4, "bin")))

    for number in range(40):
        path = f"a/{number}"
        for targets in (named, succinct):
            assert targets.delegations is not None
            expected = list(targets.delegations.get_roles_for_target(path))
            assert DelegationIndex(targets).roles_for(path) == expected
