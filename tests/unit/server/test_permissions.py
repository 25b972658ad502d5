"""Who may: by role, by the scopes of a key, and by what a role is restricted to."""

from __future__ import annotations

import pytest

from sealwire.errors import NotPermittedError
from sealwire.products import PRODUCTS
from sealwire.server.access.permissions import (
    ADMIN,
    BUILT_IN_ROLES,
    PERMISSIONS,
    READ_ONLY,
    STANDARD,
    Grant,
    Principal,
    Role,
    grants_of,
    known_permission,
)


def principal(*grants: Grant, scopes: frozenset[str] | None = None) -> Principal:
    return Principal("ann@example.org", 1, grants, scopes=scopes)


def test_each_built_in_role_has_all_that_the_one_below_it_has() -> None:
    read_only, standard, admin = (BUILT_IN_ROLES[name].permissions for name in (READ_ONLY, STANDARD, ADMIN))

    assert read_only < standard < admin == frozenset(PERMISSIONS)


def test_read_only_has_no_permission_to_write() -> None:
    assert all(name.endswith("_read") for name in BUILT_IN_ROLES[READ_ONLY].permissions)


def test_the_field_s_defaults_are_kept() -> None:
    admin_only = {
        "org_management",
        "api_keys_write",
        "debugger_write",
        "user_access_manage",
        "audit_logs_read",
    }
    standard = BUILT_IN_ROLES[STANDARD].permissions

    assert not admin_only & standard
    assert {"api_keys_read", "appsec_protect_write", "debugger_write_pre_prod"} <= standard
    assert {"appsec_activation_read", "debugger_read"} <= BUILT_IN_ROLES[READ_ONLY].permissions


def test_both_spellings_of_one_permission_are_known() -> None:
    assert known_permission("debugger_write_preprod") == "debugger_write_pre_prod"
    assert known_permission("debugger_write_pre_prod") == "debugger_write_pre_prod"
    assert known_permission("launch_missiles") is None


def test_every_product_names_permissions_that_exist() -> None:
    for product in PRODUCTS.values():
        assert {product.reads, product.writes} <= set(PERMISSIONS), product.name


def test_to_write_implies_nothing_else() -> None:
    writer = principal(Grant(Role("r1", "Blocker", frozenset({"appsec_protect_write"}))))

    assert writer.may("appsec_protect_write")
    assert not writer.may("appsec_protect_read")


def test_nobody_without_a_role_may_anything() -> None:
    assert not any(principal().may(permission) for permission in PERMISSIONS)
    assert grants_of("no such role") == ()


def test_a_key_with_scopes_may_no_more_than_they_say() -> None:
    scoped = principal(*grants_of(ADMIN), scopes=frozenset({"fleet_read"}))

    assert scoped.may("fleet_read")
    assert not scoped.may("rc_config_read")
    with pytest.raises(NotPermittedError, match="not among the scopes of this key"):
        scoped.require("rc_config_read")


def test_scopes_give_nothing_that_the_role_does_not() -> None:
    assert not principal(*grants_of(READ_ONLY), scopes=frozenset({"org_management"})).may("org_management")


@pytest.mark.parametrize(
    ("services", "envs", "allowed"),
    [
        (["shop"], ["prod"], True),
        (["SHOP"], ["prod", "staging"], True),
        (["shop", "other"], ["prod"], False),
        (["other"], ["prod"], False),
        ([], ["prod"], False),  # aimed at every service
        (["shop"], [], False),  # aimed at every environment
        (["shop"], ["dev"], False),
    ],
)
def test_a_restricted_role_reaches_what_it_names_and_no_further(
    services: list[str], envs: list[str], allowed: bool
) -> None:
    restricted = principal(
        Grant(BUILT_IN_ROLES[STANDARD], frozenset({"shop"}), frozenset({"prod", "staging"}))
    )

    assert restricted.may("appsec_protect_write")
    assert restricted.may_change("appsec_protect_write", services=services, envs=envs) is allowed
    if not allowed:
        with pytest.raises(NotPermittedError, match="service shop in environment prod or staging"):
            restricted.require_change("appsec_protect_write", services=services, envs=envs)


def test_a_second_role_adds_to_the_first() -> None:
    both = principal(
        Grant(BUILT_IN_ROLES[STANDARD], services=frozenset({"shop"})),
        Grant(BUILT_IN_ROLES[STANDARD], services=frozenset({"search"})),
    )

    for service in ("shop", "search"):
        assert both.may_change("appsec_protect_write", services=[service], envs=[])
    # One change must lie within one of them: each was given by itself.
    assert not both.may_change("appsec_protect_write", services=["shop", "search"], envs=[])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(NotPermittedError, match="needs the permission org_management; your role Read Only"):
        principal(*grants_of(READ_ONLY)).require("org_management")
