"""What a provider of OpenID Connect says is believed only as it should be: one that lies, against ours."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from sealwire.errors import NotPermittedError, SealwireError, SettingsError, UnavailableError
from sealwire.server.access import users
from sealwire.server.access.oidc import JOURNEY_S, Provider, Vouched, admit
from sealwire.server.access.roles import bind, grants_of_user
from sealwire.server.keyring import Keyring
from sealwire.server.settings import ServerSettings, load
from sealwire.server.store import people, read, rows, write
from sealwire.server.store import roles as store
from sealwire.server.store.database import Database

ISSUER, CLIENT, SECRET = "https://id.example.org", "sealwire", "a secret of ours: ü&="
BACK = "https://sealwire.example.org/sign-in/oidc/callback"
START = datetime(2026, 1, 1, tzinfo=UTC)
ORG, OTHER, NOW_MS = 1, 2, 1_700_000_000_000


class Liar:
    """A provider that says whatever a test wants; ``claims`` lie over honest ones, None takes one out."""

    def __init__(self) -> None:
        self.now = START
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.published: list[Any] = [self.key.as_dict(private=False)]
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.claims: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.nonce = ""
        self.challenge = ""
        self.asked: list[str] = []
        self.forms: list[httpx.Request] = []
        self.refuses: dict[str, tuple[int, Any]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.refuses:
            status, body = self.refuses[path]
            return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body))
        if path == "/.well-known/openid-configuration":
            document = {
                "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth",
                "token_endpoint": f"{ISSUER}/token", "userinfo_endpoint": f"{ISSUER}/me",
                "jwks_uri": f"{ISSUER}/jwks", **self.discovery,
            }  # fmt: skip
            return httpx.Response(200, json={k: v for k, v in document.items() if v is not None})
        if path == "/jwks":
            return httpx.Response(200, json={"keys": self.published})
        if path == "/me":
            return httpx.Response(200, json={"sub": "ann-1", **(self.userinfo or {})})
        self.forms.append(request)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if create_s256_code_challenge(form["code_verifier"]) != self.challenge:
            return httpx.Response(400, json={"error": "invalid_grant"})
        return httpx.Response(200, json={"access_token": "opaque", "id_token": self.token()})

    def token(self) -> str:
        at = int(self.now.timestamp())
        claims = {
            "iss": ISSUER, "aud": CLIENT, "sub": "ann-1", "exp": at + 300, "iat": at, "nonce": self.nonce,
            "email": "Ann@Example.org", "email_verified": True, "name": "Ann", **self.claims,
        }  # fmt: skip
        signed = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(self.header, signed, self.key, algorithms=[self.header["alg"]])


def provider_of(liar: Liar, folder: Path, **changes: Any) -> Provider:
    settings = ServerSettings(
        folder, folder, oidc_issuer=ISSUER, oidc_client_id=CLIENT, oidc_client_secret=SECRET,
        oidc_name="Example ID",
    )  # fmt: skip
    return Provider(
        replace(settings, **changes), Keyring(folder), lambda: liar.now, transport=httpx.MockTransport(liar)
    )


@pytest.fixture
def liar() -> Liar:
    return Liar()


@pytest.fixture
def provider(liar: Liar, tmp_path: Path) -> Provider:
    return provider_of(liar, tmp_path)


def begun(provider: Provider, liar: Liar, next_path: str = "/fleet?tab=agents") -> tuple[str, dict[str, str]]:
    """The cookie of somebody who was sent to the provider, and what they come back with."""
    url, cookie = asyncio.run(provider.begin(redirect_uri=BACK, next_path=next_path))
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    liar.nonce, liar.challenge = sent["nonce"], sent["code_challenge"]
    return cookie, {"state": sent["state"], "code": "a code"}


def finished(provider: Provider, cookie: str, answer: dict[str, str]) -> tuple[Vouched, str]:
    return asyncio.run(provider.finish(cookie, answer, redirect_uri=BACK))


def journey(provider: Provider, liar: Liar, **answer: str) -> tuple[Vouched, str]:
    cookie, back = begun(provider, liar)
    return finished(provider, cookie, {**back, **answer})


# What is honest -------------------------------------------------------------------------------------------


def test_an_honest_provider_is_believed(provider: Provider, liar: Liar) -> None:
    vouched, next_path = journey(provider, liar)

    assert vouched == Vouched(ISSUER, "ann-1", "Ann@Example.org", "Ann")
    assert next_path == "/fleet?tab=agents"
    # RFC 6749, 2.3.1: form encoded, then as a password.
    scheme, _, sent = liar.forms[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(sent)) == ("Basic", b"sealwire:a+secret+of+ours%3A+%C3%BC%26%3D")
    assert SECRET not in liar.forms[0].content.decode()


def test_the_browser_is_sent_with_everything_that_binds_the_answer(provider: Provider, liar: Liar) -> None:
    url, cookie = asyncio.run(provider.begin(redirect_uri=BACK, next_path="/"))

    sent = parse_qs(urlsplit(url).query)

    assert url.startswith(f"{ISSUER}/auth?")
    assert sent["response_type"] == ["code"]
    assert sent["code_challenge_method"] == ["S256"]
    assert sent["redirect_uri"] == [BACK]
    assert min(len(sent[name][0]) for name in ("state", "nonce", "code_challenge")) >= 43
    for name in ("state", "nonce"):
        assert sent[name][0] not in cookie, "what binds the answer is sealed in the cookie"


def test_discovery_and_keys_are_kept_for_an_hour(provider: Provider, liar: Liar) -> None:
    for _ in range(3):
        journey(provider, liar)
    assert liar.asked.count("/.well-known/openid-configuration") == liar.asked.count("/jwks") == 1

    liar.now += timedelta(hours=1, seconds=1)
    journey(provider, liar)

    assert liar.asked.count("/.well-known/openid-configuration") == liar.asked.count("/jwks") == 2


def test_a_new_key_of_the_provider_is_fetched_when_it_is_needed(provider: Provider, liar: Liar) -> None:
    journey(provider, liar)
    liar.now += timedelta(minutes=1)
    liar.key = RSAKey.generate_key(2048, {"kid": "two"})
    liar.header["kid"] = "two"
    liar.published.append(liar.key.as_dict(private=False))

    journey(provider, liar)

    assert liar.asked.count("/jwks") == 2


def test_keys_that_are_not_there_are_not_fetched_again_and_again(provider: Provider, liar: Liar) -> None:
    journey(provider, liar)
    liar.header["kid"] = "never published"

    for _ in range(5):
        with pytest.raises(NotPermittedError):
            journey(provider, liar)

    assert liar.asked.count("/jwks") == 1


def test_keys_that_cannot_be_used_do_not_spoil_the_others(provider: Provider, liar: Liar) -> None:
    liar.published = [
        None, {"kty": "RSA"}, {"kty": "strange"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
        *liar.published,
    ]  # fmt: skip

    assert journey(provider, liar)[0].subject == "ann-1"


def test_an_elliptic_signature_is_good_too(provider: Provider, liar: Liar) -> None:
    liar.key = ECKey.generate_key("P-256", {"kid": "one"})  # type: ignore[assignment]
    liar.published, liar.header["alg"] = [liar.key.as_dict(private=False)], "ES256"

    assert journey(provider, liar)[0].subject == "ann-1"


def test_an_email_is_asked_for_where_the_token_has_none(provider: Provider, liar: Liar) -> None:
    liar.claims = {"email": None, "email_verified": None}
    liar.userinfo = {"email": "ann@example.org", "email_verified": True}

    assert journey(provider, liar)[0].email == "ann@example.org"


@pytest.mark.parametrize("methods", [["client_secret_post"], ["private_key_jwt", "client_secret_post"]])
def test_the_secret_goes_where_the_provider_wants_it(
    methods: list[str], provider: Provider, liar: Liar
) -> None:
    liar.discovery = {"token_endpoint_auth_methods_supported": methods}

    journey(provider, liar)

    assert parse_qs(liar.forms[0].content.decode())["client_secret"] == [SECRET]
    assert "authorization" not in liar.forms[0].headers


def test_a_public_client_sends_no_secret(liar: Liar, tmp_path: Path) -> None:
    journey(provider_of(liar, tmp_path, oidc_client_secret=""), liar)

    form = parse_qs(liar.forms[0].content.decode())
    assert form["client_id"] == [CLIENT]
    assert "client_secret" not in form
    assert "authorization" not in liar.forms[0].headers


# What is not ----------------------------------------------------------------------------------------------

DAY = 86_400
FORGED: dict[str, dict[str, Any]] = {
    "of another issuer": {"iss": "https://evil.example.org"},
    "of no issuer": {"iss": None},
    "of a list of issuers": {"iss": [ISSUER]},
    "for somebody else": {"aud": "another-client"},
    "for nobody": {"aud": None},
    "for us and others, with another party": {"aud": [CLIENT, "x"], "azp": "x"},
    "for us and others, without a party": {"aud": [CLIENT, "x"]},
    "expired": {"exp": int(START.timestamp()) - 31},
    "without an end": {"exp": None},
    "with an end in words": {"exp": "tomorrow"},
    "of tomorrow": {"iat": int(START.timestamp()) + DAY},
    "not good yet": {"nbf": int(START.timestamp()) + DAY},
    "with another nonce": {"nonce": "0" * 43},
    "with an empty nonce": {"nonce": ""},
    "without a nonce": {"nonce": None},
    "without a subject": {"sub": None},
    "with an empty subject": {"sub": ""},
    "with a number for a subject": {"sub": 7},
    "with a subject that is too long": {"sub": "x" * 256},
    "with a subject that does not show": {"sub": "a\x00b"},
    "of another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("what", FORGED)
def test_a_token_that_is_not_good_is_refused(what: str, provider: Provider, liar: Liar) -> None:
    liar.claims = FORGED[what]

    with pytest.raises(NotPermittedError):
        journey(provider, liar)


def test_a_token_signed_by_another_key_is_refused(provider: Provider, liar: Liar) -> None:
    liar.key = RSAKey.generate_key(2048, {"kid": "one"})

    with pytest.raises(NotPermittedError):
        journey(provider, liar)


def test_a_token_nobody_signed_is_refused(
    provider: Provider, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = liar.token

    def unsigned() -> str:
        _, payload, _ = honest().split(".")
        return f"eyJhbGciOiJub25lIiwia2lkIjoib25lIn0.{payload}."

    monkeypatch.setattr(liar, "token", unsigned)

    with pytest.raises(NotPermittedError):
        journey(provider, liar)


@pytest.mark.parametrize("with_our_secret", [True, False])
def test_a_token_keyed_with_what_others_know_is_refused(
    with_our_secret: bool, provider: Provider, liar: Liar
) -> None:
    public = json.dumps(liar.key.as_dict(private=False))
    symmetric = OctKey.import_key(SECRET if with_our_secret else public, {"kid": "one"})
    liar.key, liar.header["alg"] = symmetric, "HS256"  # type: ignore[assignment]
    liar.published = [symmetric.as_dict(private=True)]

    with pytest.raises(NotPermittedError):
        journey(provider, liar)


@pytest.mark.parametrize("verified", [False, None, "true", 1, "yes", [True]])
def test_an_email_that_is_not_verified_is_none(verified: Any, provider: Provider, liar: Liar) -> None:
    liar.claims = {"email_verified": verified}

    assert journey(provider, liar)[0].email == ""


@pytest.mark.parametrize("email", [7, None, ["ann@example.org"], {"a": 1}])
def test_an_email_that_is_no_text_is_none(email: Any, provider: Provider, liar: Liar) -> None:
    liar.claims = {"email": email}

    assert journey(provider, liar)[0].email == ""


def test_what_is_said_of_somebody_else_is_not_taken(provider: Provider, liar: Liar) -> None:
    liar.claims = {"email": None}
    liar.userinfo = {"sub": "eve-1", "email": "eve@example.org", "email_verified": True}

    with pytest.raises(UnavailableError):
        journey(provider, liar)


# The way there and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["", "0" * 43, "\udcff"])
def test_an_answer_with_another_state_is_refused(state: str, provider: Provider, liar: Liar) -> None:
    with pytest.raises(NotPermittedError, match="state"):
        journey(provider, liar, state=state)

    assert liar.forms == [], "the code of somebody else must not be redeemed"


def test_an_answer_in_another_browser_is_refused(provider: Provider, liar: Liar) -> None:
    victims, _ = begun(provider, liar)
    _, attackers_answer = begun(provider, liar)

    for cookie in (victims, "", "AAAA", "not base64!", "é"):
        with pytest.raises(NotPermittedError):
            finished(provider, cookie, attackers_answer)

    assert liar.forms == []


def test_a_code_of_another_journey_does_not_fit_its_verifier(provider: Provider, liar: Liar) -> None:
    cookie, back = begun(provider, liar)
    begun(provider, liar)  # the provider now has the challenge of this one

    with pytest.raises(NotPermittedError, match="invalid_grant"):
        finished(provider, cookie, back)


def test_a_cookie_of_another_server_or_one_that_was_changed_is_refused(
    provider: Provider, liar: Liar, tmp_path: Path
) -> None:
    cookie, back = begun(provider, liar)
    (tmp_path / "other").mkdir()
    other = provider_of(liar, tmp_path / "other")

    with pytest.raises(NotPermittedError):
        finished(other, cookie, back)
    with pytest.raises(NotPermittedError):
        finished(provider, ("B" if cookie[0] == "A" else "A") + cookie[1:], back)


def test_a_journey_that_took_too_long_is_refused(provider: Provider, liar: Liar) -> None:
    cookie, back = begun(provider, liar)
    liar.now += timedelta(seconds=JOURNEY_S + 1)

    with pytest.raises(NotPermittedError, match="longer than 10 minutes"):
        finished(provider, cookie, back)


def test_an_answer_of_another_provider_is_refused(provider: Provider, liar: Liar) -> None:
    with pytest.raises(NotPermittedError, match="Another provider"):
        journey(provider, liar, iss="https://evil.example.org")

    assert journey(provider, liar, iss=ISSUER)


def test_a_provider_that_says_who_it_is_must_say_so(liar: Liar, tmp_path: Path) -> None:
    liar.discovery = {"authorization_response_iss_parameter_supported": True}

    with pytest.raises(NotPermittedError, match="Another provider"):
        journey(provider_of(liar, tmp_path), liar)


def test_what_the_provider_answers_instead_of_a_code_is_shown(provider: Provider, liar: Liar) -> None:
    with pytest.raises(NotPermittedError) as refused:
        journey(provider, liar, error="access_denied\x1b[31m" + "x" * 500)

    assert refused.value.public.startswith("Example ID did not let you in: access_denied[31mxxx")
    assert len(refused.value.public) < 200


# A provider that does not answer as one -------------------------------------------------------------------

BROKEN: dict[str, tuple[str, tuple[int, Any]]] = {
    "discovery is away": ("/.well-known/openid-configuration", (503, {})),
    "discovery leads elsewhere": ("/.well-known/openid-configuration", (302, {})),
    "discovery is a list": ("/.well-known/openid-configuration", (200, [])),
    "discovery is no JSON": ("/.well-known/openid-configuration", (200, b"<html>")),
    "discovery does not end": ("/.well-known/openid-configuration", (200, b" " * 600_000)),
    "discovery is deep": ("/.well-known/openid-configuration", (200, b"[" * 100_000)),
    "keys are away": ("/jwks", (500, {})),
    "keys are none": ("/jwks", (200, {})),
    "the token endpoint fails": ("/token", (500, {})),
    "the token endpoint sends no token": ("/token", (200, {"access_token": "x"})),
    "the token endpoint sends a number": ("/token", (200, {"id_token": 7})),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_provider_that_does_not_answer_as_one_is_told_as_unavailable(
    what: str, provider: Provider, liar: Liar
) -> None:
    path, answer = BROKEN[what]
    liar.refuses[path] = answer

    with pytest.raises(UnavailableError) as refused:
        journey(provider, liar)

    assert "Example ID cannot be used right now" in refused.value.public


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example.org"}, {"issuer": ISSUER + "/"}, {"issuer": None},
        {"token_endpoint": "http://id.example.org/token"}, {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None}, {"jwks_uri": 7}, {"userinfo_endpoint": "javascript:1"},
    ],
)  # fmt: skip
def test_discovery_that_does_not_fit_is_refused(
    discovery: dict[str, Any], provider: Provider, liar: Liar
) -> None:
    liar.discovery = discovery

    with pytest.raises(UnavailableError):
        journey(provider, liar)


def test_no_answer_at_all_is_told_as_unavailable(tmp_path: Path, liar: Liar) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    provider = provider_of(liar, tmp_path)
    provider._transport = httpx.MockTransport(away)

    with pytest.raises(UnavailableError):
        asyncio.run(provider.begin(redirect_uri=BACK, next_path="/"))


# Who it is here -------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    with made.write() as c:
        for org_id in (ORG, OTHER):
            write.add_organisation(
                c, rows.Organisation(org_id, f"{org_id:036}", f"org {org_id}", True, True, NOW_MS)
            )
    yield made
    made.close()


def settings_of(**changes: Any) -> ServerSettings:
    return replace(
        ServerSettings(Path(), Path(), oidc_issuer=ISSUER, oidc_client_id=CLIENT, oidc_name="Example ID"),
        **changes,
    )


def ann(**changes: str) -> Vouched:
    return replace(Vouched(ISSUER, "ann-1", "Ann@Example.org", "Ann"), **changes)


def invited(c: sa.Connection, email: str = "ann@example.org", org_id: int = ORG) -> str:
    user = users.create(c, org_id, email=email, by="test", now_ms=NOW_MS)
    bind(c, org_id, user.user_id, "standard", by="test", now_ms=NOW_MS)
    return user.user_id


def admitted(database: Database, vouched: Vouched, **settings: Any) -> people.UserRow:
    with database.write() as c:
        return admit(c, vouched, settings_of(**settings), org_id=ORG, now_ms=NOW_MS)


def test_who_was_invited_is_known_by_their_email_and_then_by_their_subject(database: Database) -> None:
    with database.write() as c:
        user_id = invited(c)

    first = admitted(database, ann())
    later = admitted(database, ann(email="ann@elsewhere.example"))
    unverified = admitted(database, ann(email=""))

    assert first.user_id == later.user_id == unverified.user_id == user_id
    assert first.state == "active"
    with database.read() as c:
        actions = [row.action for row in reversed(read.audit(c, ORG))]
        assert actions[-2:] == ["user.activated", "user.linked"]


def test_an_email_that_was_given_to_somebody_else_gives_them_nothing(database: Database) -> None:
    with database.write() as c:
        invited(c)
    admitted(database, ann())

    with pytest.raises(NotPermittedError, match="another account"):
        admitted(database, ann(subject="eve-1"))


def test_without_a_verified_email_nobody_is_linked(database: Database) -> None:
    with database.write() as c:
        invited(c)

    with pytest.raises(NotPermittedError, match="did not verify"):
        admitted(database, ann(email=""))

    with database.read() as c:
        assert store.identity(c, ISSUER, "ann-1") is None


def test_whom_nobody_invited_stays_outside(database: Database) -> None:
    with pytest.raises(NotPermittedError, match="Nobody invited"):
        admitted(database, ann())

    with database.read() as c:
        assert people.users(c, ORG) == []


def test_with_a_default_role_newcomers_join_with_that_role_and_no_other(database: Database) -> None:
    user = admitted(database, ann(), oidc_default_role="read_only", oidc_allowed_domains=("*",))

    with database.read() as c:
        grants = grants_of_user(c, ORG, user.user_id)
    assert (user.email, user.name, user.state) == ("Ann@Example.org", "Ann", "active")
    assert [grant.role.role_id for grant in grants] == ["read_only"]


def test_a_default_role_that_is_gone_lets_nobody_in(database: Database) -> None:
    with pytest.raises(NotPermittedError, match="no role for newcomers"):
        admitted(database, ann(), oidc_default_role="gone", oidc_allowed_domains=("*",))

    with database.read() as c:
        assert people.users(c, ORG) == []


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "\u202eevil"])
def test_a_name_that_cannot_be_kept_is_left_out(name: str, database: Database) -> None:
    user = admitted(database, ann(name=name), oidc_default_role="read_only", oidc_allowed_domains=("*",))

    assert user.name == ""


@pytest.mark.parametrize("email", ["ann", "ann@", "a b@example.org", "x" * 300 + "@example.org"])
def test_an_email_that_is_none_makes_no_user(email: str, database: Database) -> None:
    with pytest.raises(NotPermittedError):
        admitted(database, ann(email=email), oidc_default_role="read_only", oidc_allowed_domains=("*",))


@pytest.mark.parametrize(
    ("email", "is_let_in"),
    [
        ("ann@example.org", True), ("ann@EXAMPLE.org", True), ("ann@second.example", True),
        ("ann@evil.org", False), ("ann@sub.example.org", False), ("ann@notexample.org", False),
        ("example.org@evil.org", False), ("ann@evil.org@example.org.evil.org", False), ("", False),
    ],
)  # fmt: skip
def test_only_allowed_domains_come_in_linked_or_not(email: str, is_let_in: bool, database: Database) -> None:
    with database.write() as c:
        invited(c, "ann@example.org")
    admitted(database, ann())
    domains = {"oidc_allowed_domains": ("Example.org", "@second.example")}

    if is_let_in:
        admitted(database, ann(email=email), **domains)
    else:
        with pytest.raises(NotPermittedError, match=r"example\.org or second\.example"):
            admitted(database, ann(email=email), **domains)


@pytest.mark.parametrize("linked", [True, False])
def test_a_user_who_is_disabled_stays_outside(linked: bool, database: Database) -> None:
    with database.write() as c:
        user_id = invited(c)
    if linked:
        admitted(database, ann())
    with database.write() as c:
        users.disable(c, ORG, user_id, by="test", now_ms=NOW_MS)

    with pytest.raises(NotPermittedError, match="disabled"):
        admitted(database, ann())

    with database.read() as c:
        assert people.user(c, ORG, user_id).state == "disabled"


def test_a_user_of_another_organisation_comes_into_theirs(database: Database) -> None:
    with database.write() as c:
        user_id = invited(c, org_id=OTHER)

    user = admitted(database, ann(), oidc_default_role="read_only", oidc_allowed_domains=("*",))

    assert (user.user_id, user.org_id) == (user_id, OTHER)


def test_the_same_subject_of_another_issuer_is_somebody_else(database: Database) -> None:
    with database.write() as c:
        invited(c)
    admitted(database, ann())

    with pytest.raises(NotPermittedError):
        admitted(database, ann(issuer="https://other.example.org", email="eve@example.org"))


# Settings -------------------------------------------------------------------------------------------------

GOOD = f'oidc_issuer = "{ISSUER}"\noidc_client_id = "x"\n'


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> ServerSettings:
    (folder / "server.toml").write_text(text)
    return load({"config_dir": folder, "data_dir": folder}, environ or {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('oidc_issuer = "http://id.example.org"\noidc_client_id = "x"', "begins with https"),
        ('oidc_issuer = "id.example.org"\noidc_client_id = "x"', "takes the provider's URL"),
        ('oidc_issuer = "https://a@id.example.org"\noidc_client_id = "x"', "takes the provider's URL"),
        (f'oidc_issuer = "{ISSUER}"', "needs oidc_client_id"),
        ('oidc_client_id = "x"', "oidc_issuer is not"),
        (GOOD + 'oidc_default_role = "admin"', "must not be admin"),
        (GOOD + 'oidc_default_role = "standard"', "oidc_allowed_domains"),
        (GOOD + 'oidc_client_secret = "a"\noidc_client_secret_file = "b"', "not both"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=says):
        loaded(tmp_path, text)


def test_the_secret_is_in_a_file_or_the_environment_and_never_shown(tmp_path: Path) -> None:
    by_environment = loaded(tmp_path, GOOD, {"SEALWIRE_OIDC_CLIENT_SECRET": "hush hush"})
    secret_file = tmp_path / "secret"
    secret_file.write_text("hush hush\n")
    by_file = loaded(tmp_path, GOOD + f'oidc_client_secret_file = "{secret_file}"')

    providers = [Provider(one, Keyring(tmp_path), lambda: START) for one in (by_environment, by_file)]

    assert [provider._secret for provider in providers] == ["hush hush", "hush hush"]
    assert "hush" not in repr(by_environment)
    secret_file.unlink()
    with pytest.raises(SealwireError, match="cannot be read"):
        Provider(by_file, Keyring(tmp_path), lambda: START)
