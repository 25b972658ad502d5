"""Publishing: what is signed, under which versions, and who notices.

Every bundle is judged by ``TrustedState`` from the two version 1 roots on, as an agent would.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import UnavailableError, UntrustedError
from sealwire.products import PRODUCTS
from sealwire.server import organisation as organisations
from sealwire.server.audiences import LIMIT, split_role
from sealwire.server.publish import Bundle, Demand, Publisher
from sealwire.server.store import write
from sealwire.trust.canonical import sha256_hex
from tests.support.parts import (
    ASM_OFF,
    ASM_ON,
    Domain,
    answer_of,
    demand,
    denylist,
    facts,
    holding,
    signed,
)
from tests.support.simulated_agent import SimulatedAgent

SHOP = facts("c1")
CART = facts("c2", service="cart")


def accepted(domain: Domain, bundle: Bundle, agent: SimulatedAgent | None = None) -> SimulatedAgent:
    """The agent once it believes this bundle."""
    agent = agent or domain.agent()
    agent.take(answer_of(bundle), now=domain.now)
    assert agent.state.director_version == bundle.version
    return agent


def assert_ledger_holds(domain: Domain) -> None:
    """Versions in the ledger are unique, their bytes are those that were hashed, and none is missing."""
    entries = domain.ledger()
    versions = [entry.version for entry in entries]
    assert len(set(versions)) == len(versions)
    for entry in entries:
        assert entry.targets is not None
        assert entry.snapshot is not None
        assert entry.timestamp is not None
        assert sha256_hex(entry.targets + entry.snapshot + entry.timestamp) == entry.sha256
        assert {signed(raw)["version"] for raw in (entry.targets, entry.snapshot, entry.timestamp)} == {
            entry.version
        }


def test_both_repositories_are_signed_before_anybody_made_a_config(domain: Domain) -> None:
    (bundle,) = domain.publish(demand("host-a"))

    agent = accepted(domain, bundle)

    assert agent.state.targets == {}
    assert agent.state.config_snapshot_version == bundle.config.version == 1
    assert {"targets", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES", "APM_TRACING"} <= set(bundle.config.roles)


def test_a_change_reaches_the_agent_that_it_is_for(domain: Domain) -> None:
    (empty,) = domain.publish(demand("host-a", SHOP))
    agent = accepted(domain, empty)
    config = domain.put("ASM_DATA", denylist("203.0.113.7"), {"service": ["shop"]})

    (bundle,) = domain.publish(holding(empty, demand("host-a", SHOP)))
    accepted(domain, bundle, agent)

    path = f"datadog/{domain.org_id}/ASM_DATA/{config.config_id}/config"
    assert json.loads(agent.state.targets[path].raw) == denylist("203.0.113.7")
    assert agent.state.targets[path].custom["v"] == 1
    assert domain.publisher.files[path].sources == {config.config_id: 1}


def test_nothing_to_do_signs_nothing(domain: Domain) -> None:
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)
    (first,) = domain.publish(wanted)
    before = len(domain.ledger())

    (second,) = domain.publish(wanted)
    (third,) = domain.publish(holding(first, wanted))

    assert second is third is first
    assert len(domain.ledger()) == before


def test_two_agents_with_the_same_view_share_one_bundle(domain: Domain) -> None:
    domain.put("ASM_FEATURES", ASM_ON, {"service": ["shop"]})

    one, two, other = domain.publish(
        demand("host-a", facts("c1")), demand("host-b", facts("c2")), demand("host-c", CART)
    )

    assert one is two
    assert other is not one
    assert other.files == {}


def test_an_agent_that_is_not_concerned_keeps_its_bundle(domain: Domain) -> None:
    mine = domain.put("ASM_DATA", denylist("203.0.113.7"), {"service": ["cart"]})
    shop, cart = demand("host-a", SHOP), demand("host-b", CART)
    at_shop, at_cart = domain.publish(shop, cart)

    for round_ in range(5):
        domain.put("ASM_FEATURES", ASM_ON if round_ % 2 else ASM_OFF, {"service": ["shop"], "env": ["prod"]})
        domain.put("ASM_DATA", denylist(f"198.51.100.{round_}"), {"service": ["shop"]})
        new_at_shop, same_at_cart = domain.publish(holding(at_shop, shop), holding(at_cart, cart))
        assert same_at_cart is at_cart
        assert new_at_shop.version > at_shop.version
        at_shop = new_at_shop

    assert [path.split("/")[3] for path in at_cart.files] == [mine.config_id]
    accepted(domain, at_cart)


def test_a_version_is_never_used_twice_over_a_long_life(domain: Domain) -> None:
    """Three agents, changes, retirements, a restart, a rotation, a jump, a day that passes."""
    agents = {name: domain.agent(name) for name in ("host-a", "host-b", "host-c")}
    demands = {
        "host-a": demand("host-a", SHOP),
        "host-b": demand("host-b", SHOP, CART),
        "host-c": demand("host-c"),
    }
    configs = []
    for round_ in range(24):
        match round_ % 6:
            case 0:
                configs.append(domain.put("ASM_DATA", denylist(f"203.0.113.{round_}")))
            case 1:
                configs.append(domain.put("ASM_FEATURES", ASM_ON, {"service": ["cart"]}))
            case 2:
                changed = denylist(f"198.51.100.{round_}")
                configs[0] = domain.put("ASM_DATA", changed, config=configs[0])
            case 3:
                domain.retire(configs.pop())
            case 4:
                domain.publisher = domain.new_publisher()
            case 5:
                organisations.rotate(
                    domain.database, domain.keyring, domain.organisation,
                    repository=("director", "config")[round_ // 6 % 2], recover=False, by="test",
                    now=domain.now,
                )  # fmt: skip
                domain.publisher.reload()
                domain.later(hours=25)
        bundles = domain.publish(*demands.values())
        for (name, wanted), bundle in zip(demands.items(), bundles, strict=True):
            accepted(domain, bundle, agents[name])
            demands[name] = holding(bundle, wanted)

    assert_ledger_holds(domain)
    for agent in agents.values():
        assert agent.versions == sorted(set(agent.versions))


# Replicas and restarts ------------------------------------------------------------------------------------


def test_a_replica_that_fell_behind_reads_again_and_issues_nothing_twice(domain: Domain) -> None:
    replica = domain.new_publisher()
    agent_a, agent_b = domain.agent("host-a"), domain.agent("host-b")
    a, b = demand("host-a", SHOP), demand("host-b", CART)
    for round_ in range(10):
        domain.put(
            "ASM_DATA", denylist(f"203.0.113.{round_}"), {"service": ["shop" if round_ % 2 else "cart"]}
        )
        first, second = (domain.publisher, replica) if round_ % 3 else (replica, domain.publisher)
        (at_a,) = domain.publish(a, publisher=first)
        (at_b,) = domain.publish(b, publisher=second)
        accepted(domain, at_a, agent_a)
        accepted(domain, at_b, agent_b)
        a, b = holding(at_a, a), holding(at_b, b)

    assert_ledger_holds(domain)
    assert domain.publisher.director_version >= max(agent_a.versions[-1], agent_b.versions[-1]) - 1
    assert len({entry.version for entry in domain.ledger()}) == len(domain.ledger())


def test_a_replica_publishes_the_same_bytes_for_a_view_that_another_published(domain: Domain) -> None:
    replica = domain.new_publisher()
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)

    (ours,) = domain.publish(wanted)
    (theirs,) = domain.publish(wanted, publisher=replica)

    assert theirs.version == ours.version
    assert (theirs.targets, theirs.snapshot, theirs.timestamp) == (
        ours.targets,
        ours.snapshot,
        ours.timestamp,
    )


def test_a_publication_that_lost_the_race_changes_nothing_and_is_done_again(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other replica commits between our plan and our lock."""
    replica = domain.new_publisher()
    domain.publish(demand("host-a", SHOP))
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    plan, raced = Publisher._plan, []

    def plan_then_lose(self: Publisher, *arguments: Any) -> Any:
        made = plan(self, *arguments)
        if self is domain.publisher and not raced:
            raced.append(True)
            domain.publish(demand("host-b", SHOP), publisher=replica)
        return made

    monkeypatch.setattr(Publisher, "_plan", plan_then_lose)
    (bundle,) = domain.publish(demand("host-a", SHOP))

    assert raced
    assert bundle.config.version == replica.config_version == domain.publisher.config_version
    assert_ledger_holds(domain)
    accepted(domain, bundle)


def test_a_restart_revives_a_bundle_from_the_ledger_with_the_same_bytes(domain: Domain) -> None:
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    domain.put("ASM_FEATURES", ASM_ON)
    wanted = demand("host-a", SHOP)
    (before,) = domain.publish(wanted)
    issued = len(domain.ledger())

    domain.publisher = domain.new_publisher()
    (after,) = domain.publish(holding(before, wanted))

    assert after.version == before.version
    assert (after.targets, after.snapshot, after.timestamp) == (
        before.targets,
        before.snapshot,
        before.timestamp,
    )
    assert after.config.snapshot == before.config.snapshot
    assert {path: file.raw for path, file in after.files.items()} == {
        path: file.raw for path, file in before.files.items()
    }
    assert after.delegated == before.delegated
    assert len(domain.ledger()) == issued
    accepted(domain, after)


def test_bytes_in_the_ledger_that_do_not_hash_to_their_row_are_not_served(domain: Domain) -> None:
    wanted = demand("host-a", SHOP)
    (before,) = domain.publish(wanted)
    with domain.database.write() as c:
        c.exec_driver_sql("update ledger set targets = ? where version = ?", (b"{}", before.version))

    domain.publisher = domain.new_publisher()
    (after,) = domain.publish(holding(before, wanted))

    assert after.version > before.version
    accepted(domain, after)


def test_a_failed_commit_leaves_the_old_published_state(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = demand("host-a", SHOP)
    (before,) = domain.publish(wanted)
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    issued = domain.ledger()

    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(write, "add_ledger", fail)
        with pytest.raises(UnavailableError):
            domain.publish(wanted)

    assert domain.ledger() == issued
    assert domain.publisher.config_version == before.config.version
    assert domain.publisher.files == {}
    (after,) = domain.publish(holding(before, wanted))
    assert len(after.files) == 1
    accepted(domain, after)
    assert_ledger_holds(domain)


# Versions of an agent -------------------------------------------------------------------------------------


def test_an_agent_whose_view_returns_to_an_older_one_gets_it_under_a_new_version(domain: Domain) -> None:
    agent = domain.agent()
    wanted = demand("host-a", SHOP)
    (empty,) = domain.publish(wanted)
    accepted(domain, empty, agent)
    config = domain.put("ASM_DATA", denylist("203.0.113.7"))
    (full,) = domain.publish(holding(empty, wanted))
    accepted(domain, full, agent)
    domain.retire(config)

    (again,) = domain.publish(holding(full, wanted))

    assert again.view.key == empty.view.key
    assert again.version > full.version
    accepted(domain, again, agent)
    assert agent.state.targets == {}


def test_a_file_keeps_its_version_with_its_bytes_and_never_loses_one(domain: Domain) -> None:
    wanted = demand("host-a", SHOP)
    config = domain.put("ASM_DATA", denylist("203.0.113.7"))
    path = f"datadog/{domain.org_id}/ASM_DATA/{config.config_id}/config"
    versions = []
    for address in ("203.0.113.7", "203.0.113.8", "203.0.113.7"):
        config = domain.put("ASM_DATA", denylist(address), config=config)
        domain.publish(wanted)
        versions.append(domain.publisher.files[path].version)
    config = domain.retire(config)
    domain.publish(wanted)
    gone = domain.publisher.files[path]
    domain.put("ASM_DATA", denylist("203.0.113.7"), config=config)
    domain.publish(wanted)

    assert versions == [1, 2, 3]
    assert (gone.role, gone.version) == ("", 3)
    assert domain.publisher.files[path].version == 3
    assert domain.publisher.files[path].role == "ASM_DATA-00"


def test_a_new_agent_that_holds_a_newer_config_repository_is_given_no_older_one(domain: Domain) -> None:
    (old,) = domain.publish(demand("host-a", SHOP))
    domain.put("ASM_DATA", denylist("203.0.113.7"), {"service": ["cart"]})
    domain.publish(demand("host-b", CART))

    (fresh,) = domain.publish(demand("host-c", SHOP, holds_config=2))

    assert old.config.version == 1
    assert fresh.config.version == 2
    accepted(domain, fresh)


def test_an_agent_that_claims_versions_nobody_issued_does_not_make_others_change(domain: Domain) -> None:
    """Attack: one stolen API key, and every poll with it would wake the whole fleet."""
    (bundle,) = domain.publish(demand("host-a", SHOP))
    issued = len(domain.ledger())

    for _ in range(3):
        domain.publish(demand("host-a", SHOP), demand("host-x", facts("c9"), holds_config=2**60))

    assert len(domain.ledger()) == issued
    assert domain.publish(demand("host-a", SHOP)) == [bundle]


# Time -----------------------------------------------------------------------------------------------------


def test_signatures_are_renewed_after_a_day_and_not_before(domain: Domain) -> None:
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)
    (first,) = domain.publish(wanted)
    agent = accepted(domain, first)

    domain.later(hours=23, minutes=59)
    (same,) = domain.publish(holding(first, wanted))
    domain.later(minutes=2)
    (renewed,) = domain.publish(holding(first, wanted))

    assert same is first
    assert renewed.version > first.version
    assert renewed.config.version > first.config.version
    accepted(domain, renewed, agent)
    assert agent.state.director_timestamp_expires == (domain.now + timedelta(days=10)).replace(microsecond=0)


def test_a_control_plane_without_agents_renews_its_signatures_too(domain: Domain) -> None:
    domain.publish()
    before = domain.publisher.config_version
    for _ in range(20):
        domain.later(days=1, minutes=1)
        domain.publish()

    assert domain.publisher.config_version == before + 20
    (bundle,) = domain.publish(demand("host-a", SHOP))
    accepted(domain, bundle)


def test_nothing_ever_expires_in_two_years_of_daily_work(domain: Domain) -> None:
    """Product roles live 90 days, the top targets and the roots a year; each is renewed in time."""
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)
    agent = domain.agent()
    for day in range(2 * 365):
        domain.later(days=1, minutes=1)
        if day % 300 == 299:
            for repository in organisations.REPOSITORIES:
                organisations.rotate(
                    domain.database, domain.keyring, domain.organisation, repository=repository,
                    recover=False, by="test", now=domain.now,
                )  # fmt: skip
            domain.publisher.reload()
        if day % 13 == 0:  # an agent need not be there every day
            (bundle,) = domain.publish(wanted)
            accepted(domain, bundle, agent)
            wanted = holding(bundle, wanted)
            assert min(agent.state.expires_by_role().values()) > domain.now + timedelta(days=9)
        else:
            domain.publish()


def test_a_config_whose_time_is_over_is_taken_away(domain: Domain) -> None:
    until = (domain.now + timedelta(hours=1)).isoformat()
    domain.put("ASM_DATA", denylist("203.0.113.7"), expires_at=until)
    domain.put("ASM_FEATURES", ASM_ON, expires_at=until)
    wanted = demand("host-a", SHOP)
    (with_it,) = domain.publish(wanted)
    agent = accepted(domain, with_it)
    assert domain.publisher.catalogue.next_expiry_ms() == int(domain.later(hours=1).timestamp() * 1000)

    (without,) = domain.publish(holding(with_it, wanted))
    accepted(domain, without, agent)

    assert len(with_it.files) == 2
    assert agent.state.targets == {}
    assert domain.publisher.catalogue.next_expiry_ms() is None
    domain.publisher = domain.new_publisher()
    (after_restart,) = domain.publish(holding(without, wanted))
    assert after_restart.files == {}


# Roots ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repository", ["director", "config"])
def test_agents_follow_a_rotation_and_nothing_old_is_served(domain: Domain, repository: str) -> None:
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)
    (before,) = domain.publish(wanted)
    agent = accepted(domain, before)

    version = organisations.rotate(
        domain.database, domain.keyring, domain.organisation, repository=repository, recover=False,
        by="test", now=domain.now,
    )  # fmt: skip
    domain.publisher.reload()
    (after,) = domain.publish(holding(before, wanted))
    accepted(domain, after, agent)

    assert version == 3
    roots = {"director": agent.state.director_root_version, "config": agent.state.config_root_version}
    assert roots == {"director": 2, "config": 2, repository: 3}
    assert after.version > before.version
    # The config repository is signed anew only when its own keys changed.
    assert (after.config.version > before.config.version) == (repository == "config")
    accepted(domain, after, domain.agent("host-b"))


def test_a_publisher_that_did_not_hear_of_a_rotation_never_signs_with_the_old_keys(domain: Domain) -> None:
    domain.publish(demand("host-a", SHOP))
    organisations.rotate(
        domain.database, domain.keyring, domain.organisation, repository="config", recover=False, by="test",
        now=domain.now,
    )  # fmt: skip
    domain.put("ASM_DATA", denylist("203.0.113.7"))

    (bundle,) = domain.publish(demand("host-a", SHOP))

    assert len(bundle.roots.config) == 3
    accepted(domain, bundle)


def test_a_rotation_that_died_before_its_commit_can_be_done_again(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key files of the first try are on the disk already, under the same version."""

    def rotate() -> int:
        return organisations.rotate(
            domain.database, domain.keyring, domain.organisation, repository="config", recover=False,
            by="test", now=domain.now,
        )  # fmt: skip

    def die(*_: object, **__: object) -> None:
        raise UnavailableError("The power is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(write, "add_audit", die)
        with pytest.raises(UnavailableError):
            rotate()

    assert rotate() == 3
    domain.publisher.reload()
    (bundle,) = domain.publish(demand("host-a", SHOP))
    accepted(domain, bundle)


# Sequences ------------------------------------------------------------------------------------------------


def test_a_jump_overtakes_what_agents_hold(domain: Domain) -> None:
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    wanted = demand("host-a", SHOP)
    (before,) = domain.publish(wanted)
    agent = accepted(domain, before)

    domain.publisher.jump(director_above=5_000, config_above=7_000)
    (after,) = domain.publish(holding(before, wanted))
    accepted(domain, after, agent)

    assert after.version > 5_000
    assert after.config.version > 7_000
    assert all(document.version > 7_000 for document in after.config.roles.values())


def test_a_jump_never_goes_back(domain: Domain) -> None:
    domain.publisher.jump(director_above=5_000, config_above=7_000)
    domain.publish(demand("host-a", SHOP))

    domain.publisher.jump(director_above=10, config_above=10)
    (bundle,) = domain.publish(demand("host-a", SHOP))

    assert bundle.version > 5_000
    assert bundle.config.version > 7_000


def test_versions_that_another_replica_issued_are_nothing_to_jump_over(domain: Domain) -> None:
    replica = domain.new_publisher()
    wanted = demand("host-a", SHOP)
    domain.put("ASM_DATA", denylist("203.0.113.7"))
    (before,) = domain.publish(wanted)
    assert replica.director_version < before.version

    replica.jump(director_above=before.version, config_above=before.config.version)
    (after,) = domain.publish(holding(before, wanted), publisher=replica)

    assert after.version == before.version
    assert after.targets == before.targets


# Audiences ------------------------------------------------------------------------------------------------


def listed_in(bundle: Bundle) -> set[str]:
    """Every path in the delegated documents that go with a bundle."""
    return {path for role in bundle.delegated for path in signed(bundle.config.roles[role].raw)["targets"]}


def test_what_an_agent_is_sent_names_no_path_of_another_audience(domain: Domain) -> None:
    for n in range(LIMIT):
        domain.put("ASM_DATA", denylist(f"10.0.0.{n}"), {"service": [f"s{n}"]})
        domain.put("ASM_FEATURES", ASM_ON, {"service": [f"s{n}"]})

    wanted = [demand(f"host-{n}", facts(f"c{n}", service=f"s{n}")) for n in range(0, LIMIT, 9)]
    for bundle in domain.publish(*wanted):
        assert listed_in(bundle) == set(bundle.files)
        assert len(bundle.files) == 2
        accepted(domain, bundle)


def test_configs_for_the_same_audience_share_a_role(domain: Domain) -> None:
    configs = [domain.put("ASM_DATA", denylist(f"10.0.0.{n}"), {"service": ["shop"]}) for n in range(3)]

    (bundle,) = domain.publish(demand("host-a", SHOP))

    assert len(bundle.delegated) == 1
    assert len({config.config_id[:2] for config in configs}) == 1


def test_more_audiences_than_roles_share_them_and_everybody_is_served(domain: Domain) -> None:
    for n in range(LIMIT * 3):
        domain.put("ASM_DATA", denylist(f"10.0.{n // 250}.{n % 250}"), {"service": [f"s{n}"]})

    wanted = [demand(f"host-{n}", facts(f"c{n}", service=f"s{n}")) for n in range(0, LIMIT * 3, 17)]
    for bundle in domain.publish(*wanted):
        assert len(bundle.files) == 1
        accepted(domain, bundle)
        roles = {role for role in bundle.config.roles if split_role(role)[1]}
        assert len(roles) == LIMIT


def test_more_kinds_of_clients_than_roles_that_come_at_once_are_all_served(domain: Domain) -> None:
    domain.put("ASM_FEATURES", ASM_ON)

    wanted = [demand(f"host-{n}", facts(f"c{n}", service=f"s{n}")) for n in range(LIMIT + 40)]
    domain.publish(*wanted[:20])
    for bundle in domain.publish(*wanted):
        assert len(bundle.files) == 1
    accepted(domain, bundle)


def test_a_config_that_is_for_others_now_stands_among_theirs(domain: Domain) -> None:
    wanted = [demand("host-a", SHOP), demand("host-b", facts("c2", service="cart"))]
    domain.put("ASM_DATA", denylist("10.0.0.1"), {"service": ["cart"]})
    config = domain.put("ASM_DATA", denylist("10.0.0.2"), {"service": ["shop"]})
    stays = domain.put("ASM_DATA", denylist("10.0.0.3"), {"service": ["shop"]})
    before = domain.publish(*wanted)

    domain.retarget(config, {"service": ["cart"]})
    at_shop, at_cart = domain.publish(*(holding(b, w) for b, w in zip(before, wanted, strict=True)))

    assert listed_in(at_shop) == set(at_shop.files) == {f"datadog/1/ASM_DATA/{stays.config_id}/config"}
    assert listed_in(at_cart) == set(at_cart.files)
    assert len(at_cart.files) == 2


def test_no_role_ever_vanishes(domain: Domain) -> None:
    wanted = demand("host-a", facts("c1", service="one"))
    configs = [domain.put("ASM_DATA", denylist(f"10.0.0.{n}"), {"service": [f"s{n}"]}) for n in range(5)]
    configs.append(domain.put("ASM_DATA", denylist("10.0.1.1"), {"service": ["one"]}))
    (before,) = domain.publish(wanted)
    agent = accepted(domain, before)
    roles = set(before.config.roles)

    for config in configs:
        domain.retire(config)
    (none,) = domain.publish(holding(before, wanted))
    accepted(domain, none, agent)
    domain.publisher = domain.new_publisher()
    domain.put("ASM_FEATURES", ASM_ON)
    (later,) = domain.publish(holding(none, wanted))
    accepted(domain, later, agent)

    assert roles <= set(later.config.roles)
    accepted(domain, later, domain.agent("host-b"))


def test_no_role_of_a_lost_history_is_missing_after_a_jump(domain: Domain) -> None:
    wanted = demand("host-a", SHOP)
    domain.put("ASM_DATA", denylist("10.0.0.1"))
    (before,) = domain.publish(wanted)

    domain.publisher.jump(director_above=before.version + 1000, config_above=before.config.version + 1000)
    (after,) = domain.publish(holding(before, wanted))

    assert {f"{product}-{n:02X}" for product in PRODUCTS for n in range(LIMIT)} <= set(after.config.roles)
    assert after.version > before.version + 1000
    accepted(domain, after)


def test_one_change_signs_the_role_of_its_audience_and_no_other(domain: Domain) -> None:
    wanted = demand("host-a", SHOP)
    for n in range(5):
        domain.put("ASM_DATA", denylist(f"10.0.0.{n}"), {"service": [f"s{n}"]})
    domain.put("ASM_DATA", denylist("10.1.0.1"))
    (before,) = domain.publish(wanted)
    config = domain.put("ASM_DATA", denylist("10.1.0.2"))

    (after,) = domain.publish(holding(before, wanted))

    changed = {
        role for role, document in after.config.roles.items() if document != before.config.roles.get(role)
    }
    assert changed == {f"ASM_DATA-{config.config_id[:2].upper()}"}
    accepted(domain, after)


def test_two_replicas_that_meet_new_audiences_at_once_give_them_different_roles(domain: Domain) -> None:
    replica = domain.new_publisher()
    domain.put("ASM_FEATURES", ASM_ON)
    (one,) = domain.publish(demand("host-a", facts("c1", service="one")))
    (two,) = domain.publish(demand("host-b", facts("c2", service="two")), publisher=replica)

    assert listed_in(one).isdisjoint(listed_in(two))
    accepted(domain, two)


# What clients say goes into signed documents ---------------------------------------------------------------

ODD = ["sh\nop", "shop\x00", "\x7f", "sh\u2028op", "ショップ", 'sh"op\\', "s" * 5_000, " ", "\ufffe", "*"]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
@pytest.mark.parametrize("field", ["service", "env", "language", "app_version", "tracer_version"])
def test_no_name_a_client_can_have_keeps_others_from_being_served(
    domain: Domain, field: str, odd: str
) -> None:
    """Attack: one strange client, and publishing would stop for the whole organisation."""
    domain.put("ASM_FEATURES", ASM_ON)
    domain.put("ASM_DATA", denylist("203.0.113.7"), {"app_version": ["1.0"]})
    domain.put("ASM_DATA", denylist("203.0.113.8"), {"env": ["prod"]})
    strange = facts("c9", **{field: odd})

    ours, theirs = domain.publish(demand("host-a", SHOP), demand("host-b", strange))

    assert len(ours.files) == 3
    accepted(domain, ours)
    agent = accepted(domain, theirs, domain.agent("host-b"))
    assert len(agent.state.director_targets_raw or b"") < 50_000


def test_a_document_outside_the_profile_is_not_published(domain: Domain) -> None:
    """Should one ever be planned, what is published stays."""
    (before,) = domain.publish(demand("host-a", SHOP))
    domain.put("ASM_FEATURES", ASM_ON)
    impossible = Demand(demand("host-b", facts("c\n9")).agent, {})

    (ours, _) = domain.publish(demand("host-a", SHOP), impossible)

    assert ours.version > before.version
    accepted(domain, ours)


def test_a_stranger_to_the_organisation_believes_nothing_of_it(tmp_path: Path) -> None:
    one, two = Domain(tmp_path / "one"), Domain(tmp_path / "two")
    (bundle,) = one.publish(demand("host-a", SHOP))
    agent = two.agent()

    with pytest.raises(UntrustedError):
        agent.take(answer_of(bundle), now=two.now)

    assert agent.state.director_version == 0
    one.database.close()
    two.database.close()
