"""Roles, who has them and keys of users, on SQLite and on a real PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    SealwireError,
)
from sealwire.server.access import Access, Grant, Principal
from sealwire.server.access.application_keys import ApplicationKeys
from sealwire.server.access.permissions import BUILT_IN_ROLES, PERMISSIONS
from sealwire.server.access.roles import Roles, an_administrator_stays, bind, grants_of_user, require_to_have
from sealwire.server.store import read, rows, write
from sealwire.server.store import roles as store
from sealwire.server.store import tables as t
from sealwire.server.store.database import Database
from tests.support.parts import dump

ORG, OTHER = 1, 2
NOW_MS = 1_700_000_000_000
ANN, BEN, EVE, FAR = "a" * 16, "b" * 16, "e" * 16, "f" * 16


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        for org_id in (ORG, OTHER):
            write.add_organisation(
                c, rows.Organisation(org_id, f"{org_id:036}", f"org {org_id}", True, True, NOW_MS)
            )
        for user_id, org_id in ((ANN, ORG), (BEN, ORG), (EVE, ORG), (FAR, OTHER)):
            add_user(c, user_id, org_id)
        bind(c, ORG, ANN, "admin", by="first run", now_ms=NOW_MS)
        bind(c, OTHER, FAR, "admin", by="first run", now_ms=NOW_MS)
    yield made
    made.close()


@pytest.fixture
def access(database: Database) -> Access:
    return Access(database)


@pytest.fixture
def roles(database: Database, access: Access) -> Roles:
    return Roles(database, access.reload)


@pytest.fixture
def keys(database: Database, access: Access) -> ApplicationKeys:
    return ApplicationKeys(database, access)


def add_user(c: sa.Connection, user_id: str, org_id: int, state: str = "active") -> None:
    email = f"{user_id[0]}@example.org"
    c.execute(
        sa.insert(t.users).values(
            user_id=user_id, org_id=org_id, email=email, email_key=email, name="", state=state,
            created_ms=NOW_MS, created_by="test",
        )
    )  # fmt: skip


def set_state(c: sa.Connection, user_id: str, state: str) -> None:
    c.execute(sa.update(t.users).where(t.users.c.user_id == user_id).values(state=state))


def somebody(database: Database, user_id: str, org_id: int = ORG, **changes: object) -> Principal:
    with database.read() as c:
        grants = grants_of_user(c, org_id, user_id)
    return Principal(f"{user_id[0]}@example.org", org_id, grants, user_id=user_id, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ann(database: Database) -> Principal:
    return somebody(database, ANN)


def manager(*permissions: str) -> Principal:
    """Somebody whose one role has these and may manage roles."""
    role = BUILT_IN_ROLES["read_only"].__class__(
        "m", "Manager", frozenset({"user_access_manage", *permissions})
    )
    return Principal("m@example.org", ORG, (Grant(role),), user_id=EVE)


def audit(database: Database, org_id: int = ORG) -> list[rows.AuditRow]:
    with database.read() as c:
        return read.audit(c, org_id)


# Roles people make ----------------------------------------------------------------------------------------


def test_a_role_that_was_made_gives_what_is_in_it(roles: Roles, ann: Principal, database: Database) -> None:
    made = roles.create(
        ann, name=" Shop team ", permissions=["fleet_read", "debugger_write_preprod"], now_ms=NOW_MS
    )
    roles.give(ann, BEN, made.role_id, now_ms=NOW_MS)

    ben = somebody(database, BEN)

    assert made.name == "Shop team"
    assert ben.may("fleet_read")
    assert ben.may("debugger_write_pre_prod")
    assert not ben.may("debugger_write")
    assert ben.role == "Shop team"


def test_a_change_needs_the_revision_its_author_saw(roles: Roles, ann: Principal) -> None:
    made = roles.create(ann, name="Shop", permissions=["fleet_read"], now_ms=NOW_MS)
    roles.change(ann, made.role_id, expected_revision=1, name="Shop team", now_ms=NOW_MS)

    with pytest.raises(ConflictError) as refused:
        roles.change(ann, made.role_id, expected_revision=1, permissions=["rc_config_read"], now_ms=NOW_MS)

    assert (refused.value.expected_revision, refused.value.actual_revision) == (1, 2)
    with pytest.raises(ConflictError):
        roles.delete(ann, made.role_id, expected_revision=1, now_ms=NOW_MS)


def test_what_is_taken_out_of_a_role_is_gone_for_who_has_it(
    roles: Roles, ann: Principal, database: Database
) -> None:
    made = roles.create(ann, name="Shop", permissions=["fleet_read", "rc_config_read"], now_ms=NOW_MS)
    roles.give(ann, BEN, made.role_id, now_ms=NOW_MS)

    changed = roles.change(ann, made.role_id, expected_revision=1, permissions=["fleet_read"], now_ms=NOW_MS)

    assert changed.revision == 2
    assert not somebody(database, BEN).may("rc_config_read")
    newest = audit(database)[0]
    assert (newest.action, newest.detail["removed"]) == ("role.changed", ["rc_config_read"])


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "a\u202eb", "\ud800", "admin", "Read only"])
def test_a_name_that_is_none_or_taken_is_refused(
    name: str, roles: Roles, ann: Principal, database: Database
) -> None:
    before = dump(database)

    with pytest.raises(InvalidChangeError) as refused:
        roles.create(ann, name=name, permissions=["fleet_read"], now_ms=NOW_MS)

    assert refused.value.problems[0].path == "$.name"
    assert dump(database) == before


def test_a_permission_that_is_none_is_refused_at_its_place(roles: Roles, ann: Principal) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        roles.create(ann, name="Shop", permissions=["fleet_read", "everything"], now_ms=NOW_MS)

    assert refused.value.problems[0].path == "$.permissions[1]"


@pytest.mark.parametrize("role_id", list(BUILT_IN_ROLES))
def test_a_role_that_is_always_there_stays_as_it_is(role_id: str, roles: Roles, ann: Principal) -> None:
    with pytest.raises(InvalidChangeError, match="always there"):
        roles.change(ann, role_id, expected_revision=1, permissions=list(PERMISSIONS), now_ms=NOW_MS)
    with pytest.raises(InvalidChangeError, match="always there"):
        roles.delete(ann, role_id, expected_revision=1, now_ms=NOW_MS)


def test_a_role_that_somebody_has_is_not_deleted(roles: Roles, ann: Principal, database: Database) -> None:
    made = roles.create(ann, name="Shop", permissions=["fleet_read"], now_ms=NOW_MS)
    given = roles.give(ann, BEN, made.role_id, now_ms=NOW_MS)

    with pytest.raises(InvalidChangeError, match="1 user has the role Shop"):
        roles.delete(ann, made.role_id, expected_revision=1, now_ms=NOW_MS)

    roles.take(ann, BEN, given.binding_id, now_ms=NOW_MS)
    roles.delete(ann, made.role_id, expected_revision=1, now_ms=NOW_MS)
    with database.read() as c:
        assert store.roles(c, ORG) == []


def test_every_change_is_in_the_audit_trail(roles: Roles, ann: Principal, database: Database) -> None:
    made = roles.create(ann, name="Shop", permissions=["fleet_read"], now_ms=NOW_MS)
    given = roles.give(ann, BEN, made.role_id, services=["Shop"], envs=["prod"], now_ms=NOW_MS)
    roles.take(ann, BEN, given.binding_id, now_ms=NOW_MS)
    roles.delete(ann, made.role_id, expected_revision=1, now_ms=NOW_MS)

    found = [(row.action, row.summary, row.actor) for row in reversed(audit(database))][-4:]

    assert found == [
        ("role.created", "Made the role Shop with 1 permission", "a@example.org"),
        ("role.given", "Gave b@example.org the role Shop for shop in prod", "a@example.org"),
        ("role.taken", "Took the role Shop for shop in prod from b@example.org", "a@example.org"),
        ("role.deleted", "Deleted the role Shop", "a@example.org"),
    ]


# Who has them ---------------------------------------------------------------------------------------------


def test_a_restricted_role_reaches_its_services_only(
    roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "standard", services=["Shop", "shop", " CART "], envs=["Staging"], now_ms=NOW_MS)

    ben = somebody(database, BEN)

    assert ben.grants[0].services == {"shop", "cart"}
    assert ben.may_change("rc_config_publish", services=["SHOP"], envs=["staging"])
    assert not ben.may_change("rc_config_publish", services=["shop"], envs=[])
    assert not ben.may_change("rc_config_publish", services=["shop", "pay"], envs=["staging"])


def test_the_same_role_for_the_same_is_given_once(roles: Roles, ann: Principal) -> None:
    roles.give(ann, BEN, "standard", services=["shop"], now_ms=NOW_MS)

    with pytest.raises(ConflictError, match="already"):
        roles.give(ann, BEN, "standard", services=["SHOP"], now_ms=NOW_MS)
    roles.give(ann, BEN, "standard", services=["cart"], now_ms=NOW_MS)


@pytest.mark.parametrize("names", [["x" * 201], ["a\x00b"], [f"s{n}" for n in range(101)], ["\ud800"]])
def test_a_restriction_that_cannot_be_kept_is_refused(names: list[str], roles: Roles, ann: Principal) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        roles.give(ann, BEN, "standard", envs=names, now_ms=NOW_MS)

    assert refused.value.problems[0].path == "$.envs"


@pytest.mark.parametrize("strange", ["", "\x00", "x" * 17, "' or 1=1", "é"])
def test_what_is_no_id_is_of_nothing(strange: str, roles: Roles, ann: Principal) -> None:
    with pytest.raises(NotFoundError):
        roles.give(ann, strange, "standard", now_ms=NOW_MS)
    with pytest.raises(NotFoundError):
        roles.give(ann, BEN, strange, now_ms=NOW_MS)
    with pytest.raises(NotFoundError):
        roles.take(ann, BEN, strange, now_ms=NOW_MS)
    with pytest.raises(NotFoundError):
        roles.change(ann, strange, expected_revision=1, name="x", now_ms=NOW_MS)


def test_another_organisations_roles_and_users_are_not_there(
    roles: Roles, ann: Principal, database: Database
) -> None:
    theirs = roles.create(
        somebody(database, FAR, OTHER), name="Theirs", permissions=["fleet_read"], now_ms=NOW_MS
    )
    with database.read() as c:
        binding = store.bindings(c, OTHER)[0]
    before = dump(database)

    for attempt in (
        lambda: roles.give(ann, FAR, "read_only", now_ms=NOW_MS),
        lambda: roles.give(ann, BEN, theirs.role_id, now_ms=NOW_MS),
        lambda: roles.take(ann, FAR, binding.binding_id, now_ms=NOW_MS),
        lambda: roles.change(ann, theirs.role_id, expected_revision=1, name="Mine", now_ms=NOW_MS),
        lambda: roles.delete(ann, theirs.role_id, expected_revision=1, now_ms=NOW_MS),
    ):
        with pytest.raises(NotFoundError):
            attempt()

    assert dump(database) == before


# Nobody gives more than they have -------------------------------------------------------------------------


def test_without_the_permission_to_manage_nothing_is_given(roles: Roles, database: Database) -> None:
    with database.write() as c:
        bind(c, ORG, BEN, "standard", by="test", now_ms=NOW_MS)
    ben = somebody(database, BEN)
    before = dump(database)

    for attempt in (
        lambda: roles.give(ben, BEN, "admin", now_ms=NOW_MS),
        lambda: roles.give(ben, EVE, "read_only", now_ms=NOW_MS),
        lambda: roles.create(ben, name="Mine", permissions=["fleet_read"], now_ms=NOW_MS),
    ):
        with pytest.raises(NotPermittedError):
            attempt()

    assert dump(database) == before


def test_who_manages_roles_gives_none_with_more_than_they_have(roles: Roles, database: Database) -> None:
    who = manager("fleet_read")

    with pytest.raises(NotPermittedError, match="more than you have"):
        roles.give(who, EVE, "admin", now_ms=NOW_MS)
    with pytest.raises(NotPermittedError, match="rc_keys_manage"):
        roles.create(who, name="More", permissions=["fleet_read", "rc_keys_manage"], now_ms=NOW_MS)
    mine = roles.create(who, name="Less", permissions=["fleet_read"], now_ms=NOW_MS)
    with pytest.raises(NotPermittedError, match="rc_keys_manage"):
        roles.change(
            who, mine.role_id, expected_revision=1, permissions=["fleet_read", "rc_keys_manage"],
            now_ms=NOW_MS,
        )  # fmt: skip


def test_a_role_with_more_may_be_cut_by_who_has_less(roles: Roles, ann: Principal) -> None:
    made = roles.create(ann, name="Keys", permissions=["fleet_read", "rc_keys_manage"], now_ms=NOW_MS)

    changed = roles.change(
        manager("fleet_read"), made.role_id, expected_revision=1, permissions=["rc_keys_manage"],
        now_ms=NOW_MS,
    )  # fmt: skip

    assert changed.permissions == ("rc_keys_manage",)


def test_a_restricted_administrator_gives_within_the_restriction_only(
    roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "admin", services=["shop"], now_ms=NOW_MS)
    ben = somebody(database, BEN)

    for services in ((), ("pay",), ("shop", "pay")):
        with pytest.raises(NotPermittedError):
            roles.give(ben, EVE, "standard", services=services, now_ms=NOW_MS)
    with pytest.raises(NotPermittedError):
        roles.create(ben, name="Mine", permissions=["fleet_read"], now_ms=NOW_MS)

    given = roles.give(ben, EVE, "standard", services=["SHOP"], envs=["prod"], now_ms=NOW_MS)
    assert given.services == ("shop",)


def test_a_key_with_scopes_gives_no_more_than_its_scopes(roles: Roles, database: Database) -> None:
    cut = somebody(database, ANN, scopes=frozenset({"user_access_manage", "fleet_read"}))

    with pytest.raises(NotPermittedError):
        roles.give(cut, BEN, "read_only", now_ms=NOW_MS)
    roles.create(cut, name="Look", permissions=["fleet_read"], now_ms=NOW_MS)


def test_to_have_a_role_in_two_halves_is_not_to_have_it(database: Database) -> None:
    halves = Principal(
        "h", ORG, tuple(Grant(BUILT_IN_ROLES["admin"], frozenset({name})) for name in ("shop", "cart"))
    )

    require_to_have(halves, (Grant(BUILT_IN_ROLES["standard"], frozenset({"cart"})),))
    with pytest.raises(NotPermittedError):
        require_to_have(halves, (Grant(BUILT_IN_ROLES["standard"]),))


# The last administrator -----------------------------------------------------------------------------------


def test_the_last_administrator_keeps_the_role(roles: Roles, ann: Principal, database: Database) -> None:
    with database.read() as c:
        binding = store.bindings(c, ORG, user_id=ANN)[0]
        assert store.active_admin_ids(c, ORG) == (ANN,)
    before = dump(database)

    with pytest.raises(InvalidChangeError, match="last administrator"):
        roles.take(ann, ANN, binding.binding_id, now_ms=NOW_MS)

    assert dump(database) == before


@pytest.mark.parametrize("state", ["invited", "disabled"])
def test_an_administrator_who_cannot_come_in_does_not_count(
    state: str, roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "admin", now_ms=NOW_MS)
    with database.write() as c:
        set_state(c, BEN, state)
    with database.read() as c:
        binding = store.bindings(c, ORG, user_id=ANN)[0]
        assert store.active_admin_ids(c, ORG) == (ANN,)

    with pytest.raises(InvalidChangeError, match="last administrator"):
        roles.take(ann, ANN, binding.binding_id, now_ms=NOW_MS)


def test_an_administrator_of_some_services_does_not_count(
    roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "admin", services=["shop"], now_ms=NOW_MS)
    roles.give(ann, EVE, "admin", envs=["prod"], now_ms=NOW_MS)
    with database.read() as c:
        binding = store.bindings(c, ORG, user_id=ANN)[0]

    with pytest.raises(InvalidChangeError, match="last administrator"):
        roles.take(ann, ANN, binding.binding_id, now_ms=NOW_MS)


def test_disabling_the_last_administrator_is_undone(database: Database) -> None:
    before = dump(database)

    with pytest.raises(InvalidChangeError), database.write() as c, an_administrator_stays(c, ORG):
        set_state(c, ANN, "disabled")

    assert dump(database) == before


def test_two_administrators_who_take_each_others_role_at_once_leave_one(
    roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "admin", now_ms=NOW_MS)
    with database.read() as c:
        bound = {user_id: store.bindings(c, ORG, user_id=user_id)[0] for user_id in (ANN, BEN)}
    ben = somebody(database, BEN)
    attempts: list[Callable[[], object]] = [
        lambda: roles.take(ben, ANN, bound[ANN].binding_id, now_ms=NOW_MS),
        lambda: roles.take(ann, BEN, bound[BEN].binding_id, now_ms=NOW_MS),
    ]

    refused = at_once(attempts)

    assert [type(one) for one in refused] == [InvalidChangeError]
    with database.read() as c:
        assert len(store.active_admin_ids(c, ORG)) == 1


def test_one_disabled_and_one_demoted_at_once_leave_one(
    roles: Roles, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "admin", now_ms=NOW_MS)
    with database.read() as c:
        binding = store.bindings(c, ORG, user_id=BEN)[0]

    def disable() -> None:
        with database.write() as c, an_administrator_stays(c, ORG):
            set_state(c, ANN, "disabled")

    refused = at_once([disable, lambda: roles.take(ann, BEN, binding.binding_id, now_ms=NOW_MS)])

    assert [type(one) for one in refused] == [InvalidChangeError]
    with database.read() as c:
        assert len(store.active_admin_ids(c, ORG)) == 1


def at_once(attempts: list[Callable[[], object]]) -> list[SealwireError]:
    """Run all at the same time; what was refused."""
    gate, refused = threading.Barrier(len(attempts)), []

    def run(attempt: Callable[[], object]) -> None:
        gate.wait()
        try:
            attempt()
        except SealwireError as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return refused


# Identities -----------------------------------------------------------------------------------------------


def test_a_subject_is_linked_once_and_for_ever(database: Database) -> None:
    row = store.IdentityRow("https://id.example.org", "subject", ANN, NOW_MS)
    with database.write() as c:
        store.add_identity(c, row)

    with pytest.raises(ConflictError), database.write() as c:
        store.add_identity(c, store.IdentityRow(row.issuer, row.subject, BEN, NOW_MS))

    with database.read() as c:
        assert store.identity(c, row.issuer, row.subject) == row
        assert store.identity(c, row.issuer, "Subject") is None
        assert store.identities(c, ORG) == store.identities(c, ORG, user_id=ANN) == [row]
        assert store.identities(c, OTHER) == store.identities(c, ORG, user_id=BEN) == []


# Application keys of users --------------------------------------------------------------------------------


def test_a_users_key_may_what_the_user_may_at_that_moment(
    roles: Roles, access: Access, keys: ApplicationKeys, ann: Principal, database: Database
) -> None:
    given = roles.give(ann, BEN, "standard", services=["shop"], now_ms=NOW_MS)
    row, secret = keys.create(somebody(database, BEN), name="ci", scopes=None, now_ms=NOW_MS)

    by_key = access.principal(secret)

    assert by_key == somebody(database, BEN, key_id=row.key_id)
    assert secret not in repr(dump(database))
    roles.take(ann, BEN, given.binding_id, now_ms=NOW_MS)
    assert access.principal(secret).grants == ()


def test_a_key_with_scopes_is_cut_to_them(access: Access, keys: ApplicationKeys, ann: Principal) -> None:
    _, secret = keys.create(ann, name="ci", scopes=["fleet_read", "debugger_write_preprod"], now_ms=NOW_MS)

    by_key = access.principal(secret)

    assert by_key.scopes == frozenset({"fleet_read", "debugger_write_pre_prod"})
    assert by_key.may("fleet_read")
    assert not by_key.may("org_management")


@pytest.mark.parametrize("state", ["disabled", "invited"])
def test_the_key_of_a_user_who_is_disabled_is_dead(
    state: str, access: Access, keys: ApplicationKeys, ann: Principal, database: Database
) -> None:
    _, secret = keys.create(ann, name="ci", scopes=None, now_ms=NOW_MS)
    with database.write() as c:
        set_state(c, ANN, state)

    access.reload()

    assert access.principal_of(secret) is None


def test_a_key_makes_no_key_with_more_than_it_has(keys: ApplicationKeys, database: Database) -> None:
    cut = somebody(database, ANN, scopes=frozenset({"user_app_keys", "fleet_read"}), key_id="k")

    for scopes in (None, ["rc_keys_manage"], ["fleet_read", "org_management"]):
        with pytest.raises(NotPermittedError):
            keys.create(cut, name="more", scopes=scopes, now_ms=NOW_MS)
    row, _ = keys.create(cut, name="same", scopes=["fleet_read"], now_ms=NOW_MS)
    assert row.scopes == ("fleet_read",)


@pytest.mark.parametrize(("scopes", "path"), [([], "$.scopes"), (["fleet_read", "all"], "$.scopes[1]")])
def test_scopes_that_are_none_are_refused(
    scopes: list[str], path: str, keys: ApplicationKeys, ann: Principal
) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        keys.create(ann, name="ci", scopes=scopes, now_ms=NOW_MS)

    assert refused.value.problems[0].path == path


def test_nobodys_key_makes_no_key(keys: ApplicationKeys, database: Database) -> None:
    nobody = Principal("admin", ORG, (Grant(BUILT_IN_ROLES["admin"]),), key_id="k")

    with pytest.raises(InvalidChangeError, match="sign in"):
        keys.create(nobody, name="ci", scopes=None, now_ms=NOW_MS)
    assert keys.own(nobody) == []


def test_keys_are_seen_and_revoked_by_their_owner_and_by_who_may(
    roles: Roles, access: Access, keys: ApplicationKeys, ann: Principal, database: Database
) -> None:
    roles.give(ann, BEN, "standard", now_ms=NOW_MS)
    ben, far = somebody(database, BEN), somebody(database, FAR, OTHER)
    anns, _ = keys.create(ann, name="ann's", scopes=None, now_ms=NOW_MS)
    bens, secret = keys.create(ben, name="ben's", scopes=None, now_ms=NOW_MS)
    used = access.principal(secret)

    assert [key.key_id for key in keys.own(ben)] == [used.key_id]
    assert {key.key_id for key in keys.everybodys(ann)} == {
        anns.key_id, bens.key_id,
    }  # fmt: skip
    assert keys.own(ben)[0].last_used_ms is not None
    assert keys.everybodys(far) == []
    with pytest.raises(NotPermittedError):
        keys.everybodys(ben)
    for who, key_id in ((ben, anns.key_id), (ann, bens.key_id), (ann, "no such key")):
        with pytest.raises(NotFoundError):
            keys.revoke_own(who, key_id, now_ms=NOW_MS)
    with pytest.raises(NotFoundError):
        keys.revoke_anybodys(far, bens.key_id, now_ms=NOW_MS)
    with pytest.raises(NotPermittedError):
        keys.revoke_anybodys(ben, anns.key_id, now_ms=NOW_MS)

    keys.revoke_anybodys(ann, bens.key_id, now_ms=NOW_MS)

    assert access.principal_of(secret) is None
    assert audit(database)[0].summary == "Revoked the application key ben's of b@example.org"
    with pytest.raises(NotFoundError):
        keys.revoke_anybodys(ann, bens.key_id, now_ms=NOW_MS)
    keys.revoke_own(ann, anns.key_id, now_ms=NOW_MS)
    assert keys.own(ann) == []
