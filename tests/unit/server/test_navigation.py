"""Which line of the navigation a page belongs to."""

from __future__ import annotations

import pytest

from sealwire.server.access.permissions import BUILT_IN_ROLES, Grant, Principal
from sealwire.server.ui.render import NAVIGATION, _sections

ADMIN = Principal("admin", 1, (Grant(BUILT_IN_ROLES["admin"]),))


@pytest.mark.parametrize(
    ("path", "label"),
    [
        *((href, label) for _, label, href, *_ in NAVIGATION),
        ("/protect/activation", "Services"),
        ("/protect/block", "Denylist"),
        ("/protect/import", "Denylist"),
        ("/protect/import/0123456789abcdef", "Denylist"),
        ("/protect/feeds", "Denylist"),
        ("/protect/feeds/blocklist/end", "Denylist"),
        ("/protect/block-page", "Policies"),
        ("/protect/rules/new", "Policies"),
        ("/security/rules/cred-stuffing/edit", "Detection rules"),
    ],
)
def test_a_page_marks_exactly_its_own_line(path: str, label: str) -> None:
    marked = [item.label for _, items in _sections(path, ADMIN) for item in items if item.is_current]

    assert marked == [label]
