"""The table of sizes is asked before anything is parsed."""

from __future__ import annotations

import pytest

from sealwire.errors import OversizeError
from sealwire.wire import limits


def test_the_limit_itself_is_taken() -> None:
    limits.check_size("thing", 10, 10)
    limits.check_count("things", 10, 10)


def test_one_more_than_the_limit_is_refused_and_both_numbers_are_said() -> None:
    with pytest.raises(OversizeError) as size:
        limits.check_size("client request", 11, 10)
    with pytest.raises(OversizeError) as count:
        limits.check_count("cached files", 11, 10)

    assert size.value.public == "The client request has 11 bytes; at most 10 are taken."
    assert count.value.public == "There are 11 cached files; at most 10 are taken."
