"""Wrong delegation: a product's role speaks for another product, or somebody else speaks for it.

Stops it: each role is bound to the paths and keys its delegation names, and is looked up through that alone.
"""

from __future__ import annotations

import pytest

from sealwire.trust.sign import Delegation, RoleKeys, targets_signed
from tests.attacks.bench import Bench
from tests.support.repository import FAR, sign_anything

RULES = "datadog/2/ASM_DD/rules/config"


def test_a_role_that_lists_another_products_path_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.config.list(RULES, b"{}", role="ASM_DATA")
    thief.director.list(RULES, b"{}")
    thief.files[RULES] = b"{}"
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused("disagreement", f"The director lists {RULES}, and the config repository does not.")
    bench.assert_recovers()


def test_a_role_signed_with_another_products_key_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.config.sign_with["ASM_DATA"] = thief.config.roles["ASM_FEATURES"].signers
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused(
        "threshold", "The config repository's ASM_DATA, version 2, does not have enough valid signatures."
    )
    bench.assert_recovers()


def test_a_delegation_that_the_snapshot_does_not_list_is_refused(bench: Bench) -> None:
    thief = bench.thief()
    thief.put(RULES, b"{}")
    thief.config.hidden_roles.add("ASM_DD")
    thief.publish()

    bench.attack_with(thief)

    bench.assert_refused("missing", "The config repository's snapshot does not list the role ASM_DD.")
    bench.assert_recovers()


def test_roles_that_delegate_to_each_other_for_ever_are_refused(bench: Bench) -> None:
    thief = bench.thief()
    config = thief.config
    outer = config.delegate("OUTER", ["datadog/2/ASM_DD/*/*"])
    inner = config.delegate("INNER", ["datadog/2/ASM_DD/*/*"], parent="OUTER")
    thief.director.list(RULES, b"{}")
    thief.files[RULES] = b"{}"
    thief.publish()
    back = Delegation("OUTER", RoleKeys((outer.signers[0].public_key,), 1), ("datadog/2/ASM_DD/*/*",))
    config.documents["INNER"] = sign_anything(
        targets_signed(version=2, expires=FAR, targets={}, delegations=[back]), inner.signers
    )
    config.versions["INNER"] = 2
    config.publish("snapshot", "timestamp")

    bench.attack_with(thief)

    bench.assert_refused("disagreement", f"The director lists {RULES}, and the config repository does not.")
    bench.assert_recovers()


@pytest.mark.parametrize("name", ["root", "timestamp", "snapshot", "targets"])
def test_a_role_named_like_a_top_level_role_is_refused(bench: Bench, name: str) -> None:
    """It would take the place of that one in whatever keeps documents by name."""
    thief = bench.thief()
    config = thief.config
    spare = config.new_key()
    config.list(RULES, b"{}")
    listing = targets_signed(version=3, expires=FAR, targets=config.targets)
    forged = targets_signed(
        version=3,
        expires=FAR,
        targets={},
        delegations=[Delegation(name, RoleKeys((spare.public_key,), 1), ("datadog/2/ASM_DD/*/*",))],
    )
    config.documents["targets"] = sign_anything(forged, config.signers["targets"])
    config.versions["targets"] = 3
    config.publish("snapshot", "timestamp")
    thief.director.list(RULES, b"{}")
    thief.director.publish()
    answer = thief.answer()
    answer.config.delegated[name] = sign_anything(listing, [spare])  # type: ignore[index]  # a dict of our own

    bench.attack_with(answer)

    bench.assert_refused(
        "malformed", "The config repository's targets, version 3, cannot be read as the targets"
    )
    bench.assert_recovers()
