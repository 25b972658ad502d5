"""The attacker of the sample shop: reserved addresses, this machine, requests as asked."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from sealwire.demo import attacker

SEEN: list[tuple[str, str, str, str]] = []


class _Shop(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        SEEN.append((self.command, self.path, self.headers["X-Forwarded-For"], body))
        self.send_response(403 if "script" in self.path else 200)
        self.end_headers()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def shop_url() -> Iterator[str]:
    SEEN.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_kind_is_sent_and_what_came_back_is_said(
    shop_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attacker.main(["logins", "script", "--url", shop_url, "--times", "3"]) == 0

    assert [(method, path) for method, path, _, _ in SEEN[:3]] == [("POST", "/login")] * 3
    assert {address for _, _, address, _ in SEEN} == {attacker.ADDRESS}
    assert len({body for *_, body in SEEN[:3]}) == 3, "another account each time"
    said = capsys.readouterr().out
    assert "logins   from 203.0.113.66: 3 x 200" in said
    assert "script   from 203.0.113.66: 2 x 200, 1 x 403" in said


@pytest.mark.parametrize("url", ["http://shop.example", "https://127.0.0.1", "http://10.0.0.1:80", "x"])
def test_nobody_else_is_attacked(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        attacker.main(["--url", url])
    assert "must be one of this machine" in capsys.readouterr().err


def test_a_shop_that_is_away_is_said() -> None:
    assert attacker.attack("http://127.0.0.1:9", "scanner", from_ip="203.0.113.7", times=1) == {
        "no answer": 1
    }
