"""Texts of attackers as people look at them, and the request they are told of, written again."""

from __future__ import annotations

import shlex
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.stacks import MAX_FRAMES, read
from sealwire.server.ui.security_traces_words import badge, badges, curl, elsewhere, pieces, visible
from sealwire.server.waf import curl_command
from sealwire.wire.security import Match, Parameter, Trigger


def row(**values: object) -> SecurityTrace:
    return SecurityTrace(trace_id="0" * 32, span_id="0" * 16, ts=1.0, service="shop", **values)  # type: ignore[arg-type]  # by name


def found(address: str, path: tuple[str, ...], value: str) -> Trigger:
    return Trigger("r", matches=(Match("is_sqli", "", (Parameter(address, value, path),)),))


@settings(deadline=None)
@given(st.text(max_size=50))
def test_nothing_unseen_is_left_in_a_text(text: str) -> None:
    shown = visible(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode()


def test_what_is_not_seen_is_shown_by_its_number() -> None:
    assert visible("a\0b\u202ec\u200b\ud800") == "a␀b⟨U+202E⟩c⟨U+200B⟩⟨U+D800⟩"


def test_marks_piled_on_a_letter_do_not_reach_other_lines() -> None:
    assert visible("e" + "\u0301" * 50).count("\u0301") == 3


def test_what_is_long_is_cut() -> None:
    assert visible("x" * 10_000_000, 100) == "x" * 100 + "…"


def test_the_parts_that_matched_are_told_from_the_rest() -> None:
    assert pieces("a ' OR 1=1 -- ' OR", ["' OR"]) == (
        ("a ", False), ("' OR", True), (" 1=1 -- ", False), ("' OR", True),
    )  # fmt: skip
    assert pieces("abc", ["ab", "bc"]) == (("abc", True),)
    assert pieces("", ["x"]) == ()


def test_what_matched_only_as_the_engine_read_it_is_told_besides() -> None:
    assert elsewhere("1%27", ["s&1UE", "1"]) == ("s&1UE",)


def test_the_worst_that_happened_comes_first() -> None:
    shown = badges(
        row(
            activities=(
                "attack_attempt.attack_tool", "attack_attempt.xss", "business_logic.users.login.failure",
                "security_response.block_ip", "vulnerability_trigger.sql_injection",
            )
        )
    )  # fmt: skip

    assert [one.word for one in shown] == [
        "Exploit: SQL injection", "Cross-site scripting", "Attack tool", "Login failed", "Address blocked",
    ]  # fmt: skip


def test_an_activity_nobody_knows_has_its_own_words() -> None:
    assert badge("business_logic.basket.emptied").word == "Basket emptied"
    assert badge("odd").word == "Odd"
    assert badge("attack_attempt.<b>x\u202e").word == "<b>x⟨U+202E⟩"


def test_the_request_written_again_is_read_by_the_box_that_tries_rules() -> None:
    attack = row(
        method="POST",
        url="https://shop.example/a b?q=1' OR $(id)#x",
        user_agent="it's `me`",
        actor_ip="198.51.100.7",
        triggers=(
            found("server.request.body", ("name",), "x'y"),
            found("server.request.headers.no_cookies", ("x-probe",), "1"),
            found("server.request.cookies", ("c",), "v;w"),
        ),
    )

    made = curl_command.parse(curl(attack))

    assert made.method == "POST"
    assert made.target == "/a%20b?q=1'%20OR%20$(id)"
    headers = dict(made.headers)
    assert headers["User-Agent"] == "it's `me`"
    assert headers["X-Forwarded-For"] == "198.51.100.7"
    assert headers["x-probe"] == "1"
    assert headers["cookie"] == "c=v%3Bw"
    assert made.body == "name=x%27y"


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20), st.text(max_size=40))
def test_who_pastes_the_command_runs_nothing_else(url: str, agent: str, name: str, value: str) -> None:
    """Attack: texts that end the command, read a file, or send it where a file's name stands."""
    attack = row(
        method=name,
        url=url,
        user_agent=agent,
        triggers=tuple(
            found(address, (name,), value)
            for address in (
                "server.request.body", "server.request.cookies", "server.request.headers.no_cookies",
            )
        ),
    )  # fmt: skip

    words = shlex.split(curl(attack).replace("\\\n", " "))

    assert words[:4] == ["curl", "-g", "--path-as-is", "-X"]
    assert words[4].isalpha()
    assert words[5].startswith(("http://", "https://"))
    options = words[6::2]
    assert set(options) <= {"-H", "-b", "--data-urlencode"}
    for option, given_value in zip(options, words[7::2], strict=True):
        assert not given_value.startswith("@")
        assert ("=" in given_value) if option != "-H" else (":" in given_value)


def test_stack_traces_of_any_shape_are_read_as_far_as_they_are_some() -> None:
    (stack,) = read(
        {
            "s1": {
                "language": "python", "message": 7,
                "frames": [
                    {"file": "db.py", "line": 42, "function": "search", "class_name": "Db",
                     "namespace": "shop"},
                    {"text": "at x\u202e"}, {}, None, {"file": b"\xff", "line": True}, *[{"text": "f"}] * 500,
                ],
            },
            "s2": ["odd"],
        }
    )  # fmt: skip

    assert stack.language == "python"
    assert stack.message == "7"
    assert stack.frames[0] == ("db.py:42", "shop.Db.search")
    assert stack.frames[1] == ("", "at x\ufffd")
    assert len(stack.frames) == MAX_FRAMES - 3
