"""The page about attacks says what the tests say."""

from __future__ import annotations

from tests.attacks.table import PAGE, page


def test_the_page_about_attacks_is_what_the_tests_say_of_themselves() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.attacks.table"
