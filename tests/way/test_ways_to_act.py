"""What a page offers to do about an attack, and that the form it leads to takes what it is handed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from tests.support.console import Console, run
from tests.way.test_security_traces import show

SIGNAL = quote("signal:0123456789abcdef")


def test_the_form_says_how_many_it_would_block_and_where_it_goes_back(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        many = "198.51.100.7%0A198.51.100.8"
        back = "&next=/security/signals/0123456789abcdef"
        of_signal = await show(it, f"/protect/block?kind=ip&values={many}&source={SIGNAL}{back}")
        one = await show(it, "/protect/block?kind=ip&values=198.51.100.7")
        users = await show(it, "/protect/block?kind=user&values=ada%0Abob")

        assert "<h1>Block all 2 attackers of a signal</h1>" in of_signal
        assert ("all 2 in one act" in of_signal, "Block all</button>" in of_signal) == (True, True)
        assert 'href="/security/signals/0123456789abcdef"' in of_signal
        assert ("</svg>Signal</a>" in of_signal, "</svg>Denylist</a>" in one) == (True, True)
        assert ("<h1>Block an address or a user</h1>" in one, "Block all" in one) == (True, False)
        assert "<h1>Block all 2 users</h1>" in users

    run(tmp_path, case)
