"""A real provider of OpenID Connect on this machine, and a browser that fills in its forms.

The provider is ``oidc-provider``, a certified implementation for node. It is reached by the name
``localhost`` and a control plane by ``127.0.0.1``: to a browser these are two sites.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.clients import INTEROP
from tests.support.processes import REPOSITORY, Program, clean_environment
from tests.support.stack import free_port

CLIENT_ID, CLIENT_SECRET = "sealwire", "a secret of the test: %20+&="
Claims = dict[str, Any]


def require_provider() -> tuple[str, Path]:
    """Node, and where the provider is installed; skips where one is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so no provider of OpenID Connect can run")
    modules = INTEROP / "oidc"
    if not (modules / "node_modules" / "oidc-provider").exists():
        pytest.skip("oidc-provider is not installed: run make interop (it needs npm)")
    return node, modules


class OidcProvider:
    """The provider, running once constructed. ``accounts`` are claims by login name."""

    def __init__(self, folder: Path) -> None:
        node, modules = require_provider()
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        self.accounts: dict[str, Claims] = {}
        self._command = (node, modules / "provider.mjs")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # An ES module finds others beside itself and nowhere else.
        shutil.copy(REPOSITORY / "tests" / "interop" / "oidc" / "provider.mjs", modules / "provider.mjs")

    def start(self, redirect_uri: str) -> None:
        """Run, for one control plane."""
        given = {
            "issuer": self.issuer,
            "port": self.port,
            "client": {
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "redirect_uris": [redirect_uri],
            },
            "accounts": self.accounts,
        }
        self.program = Program(
            self._command,
            name="oidc-provider",
            log=self._folder / "provider.log",
            environment=clean_environment({"PROVIDER": json.dumps(given)}),
        )
        self.program.wait_for_line(r"provider ready on (\S+)", timeout_s=30)

    def has(self, **accounts: Claims) -> None:
        """From now on these accounts are there besides."""
        self.accounts |= accounts
        self._tell("/test/accounts", self.accounts)

    def forges(self, claims: Claims) -> None:
        """The next ID token says this instead; None: it does not say it."""
        self._tell("/test/forge", claims)

    def _tell(self, path: str, document: object) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(document).encode(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def settings(self, **changes: object) -> dict[str, object]:
        """Settings of a control plane that signs in here."""
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_name": "Example ID",
            **changes,
        }


class FormBrowser:
    """A browser without scripts: keeps cookies, follows links, fills in forms."""

    def __init__(self, url: str, ca_file: Path | None) -> None:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self.url = url
        self.client = httpx.Client(
            verify=context, trust_env=False, timeout=20, headers={"Accept": "text/html"}
        )

    def get(self, path: str) -> httpx.Response:
        """A page, wherever it leads."""
        return self.client.get(urljoin(self.url, path), follow_redirects=True)

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """The first form of a page, filled in; what it leads to."""
        form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>(.*?)</form>", page.text, re.S)
        assert form is not None, page.text[:2000]
        hidden = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[2])
        }
        address = urljoin(str(page.url), html.unescape(form[1]))
        origin = {"Origin": f"{page.url.scheme}://{page.url.netloc.decode()}"}
        return self.client.post(address, data={**hidden, **fields}, headers=origin, follow_redirects=True)

    def sign_in(self, login: str, *, next_path: str = "/account") -> httpx.Response:
        """All the way through the provider's pages; what comes in the end."""
        asked = self.get(f"/sign-in/oidc?next={next_path}")
        assert "Sign-in" in asked.text, asked.text[:2000]
        consent = self.submit(asked, login=login, password="any")
        return self.submit(consent) if "Authorize" in consent.text else consent

    @property
    def cookies(self) -> Mapping[str, str]:
        """Cookies of the control plane."""
        return {
            cookie.name: cookie.value or "" for cookie in self.client.cookies.jar if "sealwire" in cookie.name
        }

    @property
    def is_signed_in(self) -> bool:
        """Whether the control plane lets this browser in."""
        return self.client.get(urljoin(self.url, "/account")).status_code == 200

    def close(self) -> None:
        self.client.close()
