"""Changes: every problem at its path, or a revision with its audit row; never half of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError
from sealwire.server.authoring import author as author_module
from sealwire.server.store import read, rows
from tests.support.parts import ASM_OFF, ASM_ON, NOON, Domain, denylist, dump, tracing

ASM = {"custom_rules": []}


def rule_action(action_id: str) -> dict[str, Any]:
    return {"actions": [{"id": action_id, "type": "block_request", "parameters": {"status_code": 418}}]}


def problems_of(domain: Domain, **change: Any) -> dict[str, str]:
    """The problems of a change, path to message; nothing is written for any of them."""
    before = dump(domain.database)
    values = {"product": "ASM_FEATURES", "payload": ASM_ON, "now": domain.now, **change}
    with pytest.raises(InvalidChangeError) as caught:
        domain.author.check(**values)
    assert dump(domain.database) == before
    return {problem.path: problem.message for problem in caught.value.problems}


def audit(domain: Domain) -> list[rows.AuditRow]:
    with domain.database.read() as c:
        return read.audit(c, domain.org_id)


# Checks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"payload": {"asm": {"enabled": "yes"}}}, "$.payload.asm.enabled"),
        ({"payload": {"asm": {"enabled": True, "loud": 1}}}, "$.payload.asm.loud"),
        ({"payload": []}, "$.payload"),
        ({"payload": None}, "$.payload"),
        ({"payload": "asm"}, "$.payload"),
        ({"payload": {"asm": {"enabled": 2**70}}}, "$.payload"),
        (
            {"product": "ASM_DATA", "payload": denylist("not an address")},
            "$.payload.rules_data[0].data[0].value",
        ),
        ({"product": "ASM_FEATUERS"}, "$.product"),
        ({"product": ""}, "$.product"),
        ({"product": "../ASM"}, "$.product"),
        ({"targeting": {"service": "shop"}}, "$.targeting.service"),
        ({"targeting": {"servize": ["shop"]}}, "$.targeting.servize"),
        ({"targeting": {"service": ["sh\nop"]}}, "$.targeting.service[0]"),
        ({"targeting": {"env": ["ok", "\x00"]}}, "$.targeting.env[1]"),
        ({"targeting": {"client_id": ["\x7f"]}}, "$.targeting.client_id[0]"),
        ({"targeting": {"app_version": ["\x1b[2J"]}}, "$.targeting.app_version[0]"),
        ({"targeting": {"host_tags": ["a\tb:c"]}}, "$.targeting.host_tags[0]"),
        ({"targeting": {"service": ["x" * 257]}}, "$.targeting.service[0]"),
        ({"targeting": {"service": []}}, "$.targeting.service"),
        ({"targeting": {"tracer_version": "newest"}}, "$.targeting.tracer_version"),
        ({"targeting": []}, "$.targeting"),
        ({"name": "x" * 201}, "$.name"),
        ({"name": "a\x00b"}, "$.name"),
        ({"name": 5}, "$.name"),
        ({"comment": "x" * 2001}, "$.comment"),
        ({"comment": "a\x1bb"}, "$.comment"),
        ({"expires_at": "tomorrow"}, "$.expires_at"),
        ({"expires_at": "2026-11-30T12:00:00"}, "$.expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "$.expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "$.expires_at"),
        ({"expires_at": True}, "$.expires_at"),
    ],
    ids=repr,
)
def test_a_mistake_is_told_at_its_path_and_nothing_is_changed(
    domain: Domain, change: dict[str, Any], path: str
) -> None:
    assert list(problems_of(domain, **change)) == [path]


def test_every_mistake_is_told_at_once(domain: Domain) -> None:
    told = problems_of(
        domain,
        payload={"asm": {"enabled": 1}},
        targeting={"env": "prod"},
        name="\x00",
        comment="\x00",
        expires_at="never",
    )

    assert set(told) == {
        "$.payload.asm.enabled",
        "$.targeting.env",
        "$.name",
        "$.comment",
        "$.expires_at",
    }


def test_an_unknown_product_lists_those_there_are(domain: Domain) -> None:
    message = problems_of(domain, product="ASM_FEATURE")["$.product"]

    for known in ("APM_TRACING", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES"):
        assert known in message


def test_newlines_are_fine_in_a_comment(domain: Domain) -> None:
    draft = domain.author.check(product="ASM_FEATURES", payload=ASM_ON, comment="a\n\tb", now=domain.now)

    assert draft.comment == "a\n\tb"


# Configs beside each other ----------------------------------------------------------------------------


def test_an_element_id_that_another_config_uses_is_refused_where_both_may_meet(domain: Domain) -> None:
    first = domain.put("ASM", rule_action("teapot"), {"service": ["shop"]})

    told = problems_of(domain, product="ASM", payload=rule_action("teapot"), targeting={"env": ["prod"]})
    elsewhere = domain.author.check(
        product="ASM", payload=rule_action("teapot"), targeting={"service": ["cart"]}, now=domain.now
    )

    assert first.config_id in told["$.payload.actions[0].id"]
    assert elsewhere.targeting.service == ("cart",)


def test_a_config_does_not_conflict_with_itself_nor_with_what_is_over(domain: Domain) -> None:
    until = (domain.now + timedelta(minutes=5)).isoformat()
    row = domain.put("ASM", rule_action("teapot"))
    domain.put("ASM", rule_action("kettle"), expires_at=until)
    domain.put("ASM", rule_action("teapot"), config=row)
    domain.later(minutes=5)

    domain.put("ASM", rule_action("kettle"))


def test_two_authors_at_once_cannot_commit_what_does_not_go_together(domain: Domain) -> None:
    """Both checked before either committed."""
    one = domain.author.check(product="ASM", payload=rule_action("teapot"), now=domain.now)
    two = domain.author.check(product="ASM", payload=rule_action("teapot"), now=domain.now)
    domain.author.create(one, by="ann", now=domain.now)
    before = dump(domain.database)

    with pytest.raises(InvalidChangeError) as caught:
        domain.author.create(two, by="bob", now=domain.now)

    assert [problem.path for problem in caught.value.problems] == ["$.payload.actions[0].id"]
    assert dump(domain.database) == before


def test_there_is_a_limit_to_the_number_of_configs(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(author_module, "MAX_CONFIGS", 2)
    first = domain.put("ASM_DATA", denylist("203.0.113.1"))
    domain.put("ASM_DATA", denylist("203.0.113.2"))

    with pytest.raises(InvalidChangeError, match="retire"):
        domain.put("ASM_DATA", denylist("203.0.113.3"))

    domain.retire(first)
    domain.put("ASM_DATA", denylist("203.0.113.3"))


# Commits ----------------------------------------------------------------------------


def test_a_new_config_is_revision_one_and_leaves_an_audit_row(domain: Domain) -> None:
    draft = domain.author.check(
        product="ASM_FEATURES", payload=ASM_ON, targeting={"service": ["shop"]}, name="On",
        comment="because", now=domain.now,
    )  # fmt: skip
    row = domain.author.create(draft, by="ann", now=domain.now)

    assert domain.author.get(row.config_id) == row
    assert (row.revision, row.state, row.generation, len(row.config_id)) == (1, "active", 1, 16)
    assert orjson.loads(row.payload) == ASM_ON
    newest = audit(domain)[0]
    assert (newest.actor, newest.action, newest.subject) == (
        "ann",
        "config.created",
        f"config {row.config_id}",
    )
    assert "shop" in newest.summary


def test_a_change_keeps_what_it_does_not_name(domain: Domain) -> None:
    until = (domain.now + timedelta(days=1)).isoformat()
    row = domain.put("ASM_FEATURES", ASM_ON, {"service": ["shop"]}, expires_at=until)

    changed, draft = domain.author.change(
        row.config_id, expected_revision=1, fields={"name": "New"}, by="bob", now=domain.now
    )

    assert draft.warnings == ()
    assert (changed.name, changed.revision, changed.updated_by) == ("New", 2, "bob")
    assert (changed.payload, changed.targeting, changed.expires_ms, changed.created_ms) == (
        row.payload,
        row.targeting,
        row.expires_ms,
        row.created_ms,
    )
    assert changed.generation == row.generation + 1


@pytest.mark.parametrize("expected", [0, 1, 3, -1, 2**70])
def test_a_wrong_expected_revision_is_told_with_both_before_any_other_mistake(
    domain: Domain, expected: int
) -> None:
    row = domain.put("ASM_FEATURES", ASM_ON)
    domain.put("ASM_FEATURES", ASM_OFF, config=row)
    before = dump(domain.database)

    with pytest.raises(ConflictError) as changing:
        domain.author.change(
            row.config_id, expected_revision=expected, fields={"payload": 5}, by="bob", now=domain.now
        )
    with pytest.raises(ConflictError):
        domain.author.retire(row.config_id, expected_revision=expected, by="bob", now=domain.now)

    assert (changing.value.expected_revision, changing.value.actual_revision) == (expected, 2)
    assert dump(domain.database) == before


def test_of_many_authors_with_the_same_revision_one_wins(domain: Domain) -> None:
    row = domain.put("ASM_FEATURES", ASM_ON)
    won: list[int] = []
    lost: list[ConflictError] = []

    def change(number: int) -> None:
        try:
            domain.author.change(
                row.config_id, expected_revision=1, fields={"comment": str(number)}, by="x", now=domain.now
            )
            won.append(number)
        except ConflictError as error:
            lost.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (len(won), len(lost)) == (1, 5)
    assert domain.author.get(row.config_id).comment == str(won[0])
    assert {error.actual_revision for error in lost} == {2}


def test_retiring_keeps_the_history_and_can_be_said_twice(domain: Domain) -> None:
    row = domain.put("ASM_FEATURES", ASM_ON)

    retired = domain.author.retire(row.config_id, expected_revision=1, by="ann", now=domain.now)
    again = domain.author.retire(row.config_id, expected_revision=2, by="ann", now=domain.now)
    without = domain.author.retire(row.config_id, expected_revision=None, by="ann", now=domain.now)

    assert (retired.state, retired.revision) == ("retired", 2)
    assert again == without == retired
    with domain.database.read() as c:
        states = [revision.state for revision in read.revisions(c, domain.org_id, row.config_id)]
    assert states == ["retired", "active"]
    assert [row.action for row in audit(domain)][:2] == ["config.retired", "config.created"]


def test_a_retired_config_that_is_changed_is_active_again(domain: Domain) -> None:
    row = domain.retire(domain.put("ASM_FEATURES", ASM_ON))

    changed = domain.put("ASM_FEATURES", ASM_OFF, config=row)

    assert (changed.state, changed.revision) == ("active", 3)


def test_a_config_whose_time_is_over_wants_a_new_one_before_it_is_changed(domain: Domain) -> None:
    row = domain.put("ASM_FEATURES", ASM_ON, expires_at=(domain.now + timedelta(hours=1)).isoformat())
    domain.later(hours=2)

    with pytest.raises(InvalidChangeError) as caught:
        domain.put("ASM_FEATURES", ASM_OFF, config=row)
    changed, _ = domain.author.change(
        row.config_id, expected_revision=1, fields={"expires_at": None}, by="ann", now=domain.now
    )

    assert [problem.path for problem in caught.value.problems] == ["$.expires_at"]
    assert changed.expires_ms is None


@pytest.mark.parametrize(
    "config_id",
    [
        "f" * 16,
        "",
        "..",
        "../../etc/passwd",
        "..\\..",
        "a.b",
        "\x00",
        "x" * 100_000,
        "F" * 16,
        "é" * 16,
        "ffff\n",
    ],
    ids=ascii,
)
def test_a_config_that_is_not_there_cannot_be_read_changed_or_retired(domain: Domain, config_id: str) -> None:
    domain.put("ASM_FEATURES", ASM_ON)
    before = dump(domain.database)

    with pytest.raises(NotFoundError) as caught:
        domain.author.get(config_id)
    with pytest.raises(NotFoundError):
        domain.author.change(config_id, expected_revision=1, fields={}, by="ann", now=NOON)
    with pytest.raises(NotFoundError):
        domain.author.retire(config_id, expected_revision=None, by="ann", now=NOON)

    assert len(caught.value.public) < 100
    assert dump(domain.database) == before


def test_what_the_author_should_know_is_told_with_the_change(domain: Domain) -> None:
    draft = domain.author.check(product="APM_TRACING", payload=tracing(tracing_enabled=False), now=domain.now)

    assert [warning.path for warning in draft.warnings] == ["$.lib_config.tracing_enabled"]


def test_a_targeting_is_described_in_words(domain: Domain) -> None:
    draft = domain.author.check(
        product="ASM_FEATURES", payload=ASM_ON,
        targeting={"service": ["shop", "cart"], "app_version": ["1.0"], "tracer_version": ">=4"},
        now=domain.now,
    )  # fmt: skip

    assert author_module.describe(draft.targeting) == (
        "service shop or cart, app version 1.0, tracer version >=4"
    )
    empty = domain.author.check(product="ASM_FEATURES", payload=ASM_ON, now=domain.now)
    assert author_module.describe(empty.targeting) == "every client"
