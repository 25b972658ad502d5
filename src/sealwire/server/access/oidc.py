"""Signing in with a provider of OpenID Connect: the authorization code flow, with PKCE, state and nonce.

The provider is the one of the settings and no other: its discovery document must name the issuer that was
set, and so must every token. What the browser carries meanwhile (state, nonce, the PKCE verifier, where to
go on) is sealed in a cookie, so that it begins and ends in one browser and nothing is kept here.

Whom the provider vouches for is found by issuer and subject. The first time, a user who was invited is
found by their email, which the provider must have verified; from then on their email may change there. A
user is linked to one subject of a provider: whoever gets somebody's email later does not get their account.

The second factor is the provider's to ask for; ours is not asked for after this.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import sqlalchemy as sa
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, import_key

from sealwire.errors import InvalidChangeError, NotPermittedError, SettingsError, UnavailableError
from sealwire.server.access import users
from sealwire.server.access.roles import bind, roles_of
from sealwire.server.keyring import Keyring
from sealwire.server.settings import ServerSettings
from sealwire.server.store import people, write
from sealwire.server.store import roles as store
from sealwire.server.store.people import DISABLED, UserRow

log = structlog.get_logger()

#: Signatures that only the provider can make; never ``none``, never one keyed with our own secret.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
SCOPE = "openid email profile"
JOURNEY_S = 600
LEEWAY_S = 30
FRESH_S = 3600  # how long discovery and keys are kept
AGAIN_S = 30  # keys that lack one are not fetched again sooner
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 512 * 1024
MAX_PATH_CHARS = 1000
_SEAL = {"domain": "server", "purpose": "journey to a provider", "name": "oidc"}


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider vouches for.

    Attributes:
        email: As it says; empty when it says none or did not verify it.
    """

    issuer: str
    subject: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class _Discovered:
    authorization: str
    token: str
    userinfo: str
    auth_methods: tuple[str, ...]
    jwks: str
    answers_with_issuer: bool
    at: float


class Provider:
    """The provider people may sign in with. ``clock`` tells the time tokens are judged by."""

    def __init__(
        self,
        settings: ServerSettings,
        keyring: Keyring,
        clock: Callable[[], datetime],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = settings.oidc_name
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = _secret(settings)
        self._keyring = keyring
        self._clock = clock
        self._transport = transport
        self._discovered: _Discovered | None = None
        self._keys: tuple[KeySet, float] | None = None
        self._lock = asyncio.Lock()

    async def begin(self, *, redirect_uri: str, next_path: str) -> tuple[str, str]:
        """Where to send the browser, and what it carries as a cookie meanwhile.

        Raises:
            UnavailableError: The provider does not answer, or not as one.
        """
        found = await self._discover()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        carried = {
            "state": state, "nonce": nonce, "verifier": verifier, "began": self._now_s(),
            "next": next_path if len(next_path) <= MAX_PATH_CHARS else "/",
        }  # fmt: skip
        url: str = prepare_grant_uri(
            found.authorization, client_id=self._client_id, response_type="code", redirect_uri=redirect_uri,
            scope=SCOPE, state=state, nonce=nonce, code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )  # fmt: skip
        sealed = self._keyring.seal(json.dumps(carried).encode(), **_SEAL)
        return url, base64.urlsafe_b64encode(sealed).decode()

    async def finish(
        self, cookie: str, answer: Mapping[str, str], *, redirect_uri: str
    ) -> tuple[Vouched, str]:
        """Whom the provider vouches for, and where to go on.

        Args:
            cookie: What ``begin`` gave this browser.
            answer: The parameters the browser came back with, untrusted.

        Raises:
            NotPermittedError: This browser did not begin it, the provider refused, or its token is not good.
            UnavailableError: The provider does not answer, or not as one.
        """
        carried = self._opened(cookie)
        # Attack: login CSRF. The answer to somebody else's beginning does not end in this browser.
        came_back = answer.get("state", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(str(carried["state"]).encode(), came_back):
            raise _begin_again("The state that came back is not the one this browser was sent with.")
        found = await self._discover()
        # Attack: mix-up of providers (RFC 9207).
        if (answer.get("iss") or ("" if found.answers_with_issuer else self.issuer)) != self.issuer:
            raise NotPermittedError("Another provider answered than the one that was asked.")
        if answer.get("error"):
            raise NotPermittedError(f"{self.name} did not let you in: {_shown(answer['error'])}.")
        if not answer.get("code"):
            raise _begin_again("The provider sent no code.")
        tokens = await self._redeem(found, answer["code"], carried["verifier"], redirect_uri)
        claims = await self._verified(
            tokens.get("id_token"), nonce=carried["nonce"], access_token=tokens.get("access_token")
        )
        if "email" not in claims and found.userinfo and isinstance(tokens.get("access_token"), str):
            claims |= await self._user_info(found, tokens["access_token"], claims["sub"])
        return self._vouched(claims), str(carried["next"])

    def _opened(self, cookie: str) -> dict[str, Any]:
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode())
            carried: dict[str, Any] = json.loads(self._keyring.unseal(sealed, **_SEAL))
        except (binascii.Error, ValueError, SettingsError) as error:
            raise _begin_again("This browser did not begin to sign in, or its cookie was lost.") from error
        if not 0 <= self._now_s() - carried["began"] <= JOURNEY_S:
            raise _begin_again(f"It took longer than {JOURNEY_S // 60} minutes.")
        return carried

    async def _redeem(
        self, found: _Discovered, code: str, verifier: str, redirect_uri: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }  # fmt: skip
        auth: httpx.BasicAuth | None = None
        if not self._secret:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in found.auth_methods:
            # RFC 6749, 2.3.1: both are form encoded before they are put together.
            auth = httpx.BasicAuth(quote_plus(self._client_id), quote_plus(self._secret))
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        status, tokens = await self._ask("POST", found.token, data=form, auth=auth)
        if status in (400, 401, 403):
            why = _shown(str(tokens.get("error", status)))
            log.warning("code refused by the provider", status=status, error=why)
            raise _begin_again(f"The provider did not take the code it had sent ({why}).")
        if status != 200:
            raise self._unavailable(f"token endpoint answered {status}")
        return tokens

    async def _verified(self, raw: object, *, nonce: str, access_token: object) -> dict[str, Any]:
        """The claims of an ID token (OpenID Connect Core 1.0, 3.1.3.7)."""
        if not isinstance(raw, str):
            raise self._unavailable("token endpoint sent no id_token")
        try:
            token = await self._signed_by_provider(raw)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                    "nonce": {"essential": True, "value": nonce},
                },
                params={"nonce": nonce, "client_id": self._client_id, "access_token": access_token},
            )
            claims.validate(now=self._now_s(), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            why = str(error) if isinstance(error, JoseError) else type(error).__name__
            log.warning("id token refused", why=why)
            raise NotPermittedError(
                "What the provider says of you cannot be trusted as it is. Begin again; if it stays so, an "
                "administrator finds the reason in the log of the control plane.",
                detail=why,
            ) from error
        return dict(claims)

    async def _signed_by_provider(self, raw: str) -> jwt.Token:
        keys, at = await self._provider_keys()
        try:
            return jwt.decode(raw, keys, algorithms=list(ALGORITHMS))
        except (InvalidKeyIdError, ValueError):
            if self._clock().timestamp() - at < AGAIN_S:
                raise
        keys, _ = await self._provider_keys(again=True)  # the provider has new ones
        return jwt.decode(raw, keys, algorithms=list(ALGORITHMS))

    async def _user_info(self, found: _Discovered, access_token: str, subject: str) -> Mapping[str, Any]:
        status, answer = await self._ask(
            "GET", found.userinfo, headers={"Authorization": f"Bearer {access_token}"}
        )
        # Attack: token substitution (OpenID Connect Core 1.0, 5.3.2).
        if status != 200 or answer.get("sub") != subject:
            raise self._unavailable(f"userinfo endpoint answered {status}, or of somebody else")
        return {name: answer[name] for name in ("email", "email_verified", "name") if name in answer}

    def _vouched(self, claims: Mapping[str, Any]) -> Vouched:
        subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
        if not 1 <= len(subject) <= 255 or not subject.isprintable():
            raise NotPermittedError("The provider's name for you cannot be kept.")
        is_verified = claims.get("email_verified") is True and isinstance(email, str)
        return Vouched(
            self.issuer, subject, email.strip() if is_verified and isinstance(email, str) else "",
            name if isinstance(name, str) else "",
        )  # fmt: skip

    # What the provider publishes ----------------------------------------------------------------------

    async def _discover(self) -> _Discovered:
        async with self._lock:
            kept = self._discovered
            if kept is not None and self._clock().timestamp() - kept.at < FRESH_S:
                return kept
            status, document = await self._ask(
                "GET", self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if status != 200:
                raise self._unavailable(f"discovery answered {status}")
            if document.get("issuer") != self.issuer:
                raise self._unavailable(
                    f"it calls itself {_shown(str(document.get('issuer')))}: oidc_issuer must be exactly that"
                )
            methods = document.get("token_endpoint_auth_methods_supported")
            self._discovered = _Discovered(
                self._endpoint(document, "authorization_endpoint"),
                self._endpoint(document, "token_endpoint"),
                self._endpoint(document, "userinfo_endpoint") if "userinfo_endpoint" in document else "",
                tuple(map(str, methods)) if isinstance(methods, list) else ("client_secret_basic",),
                self._endpoint(document, "jwks_uri"),
                document.get("authorization_response_iss_parameter_supported") is True,
                self._clock().timestamp(),
            )
            return self._discovered

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        url = document.get(name)
        # Attack: a document that leads to plain HTTP.
        if not isinstance(url, str) or urlsplit(url).scheme != urlsplit(self.issuer).scheme:
            raise self._unavailable(f"discovery has no usable {name}")
        return url

    async def _provider_keys(self, *, again: bool = False) -> tuple[KeySet, float]:
        found = await self._discover()
        async with self._lock:
            if self._keys is not None:
                age = self._clock().timestamp() - self._keys[1]
                if age < (AGAIN_S if again else FRESH_S):
                    return self._keys
            status, document = await self._ask("GET", found.jwks)
            listed = document.get("keys")
            if status != 200 or not isinstance(listed, list):
                raise self._unavailable(f"its keys: answered {status}")
            self._keys = KeySet(_usable_keys(listed)), self._clock().timestamp()
            return self._keys

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON object of an answer; redirects are not followed."""
        if self._transport is None:
            verify: ssl.SSLContext | bool = ssl.create_default_context()
        else:
            verify = False  # no connection is made
        try:
            async with (
                httpx.AsyncClient(verify=verify, timeout=TIMEOUT_S, transport=self._transport) as client,
                client.stream(method, url, **options) as response,
            ):
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        raise self._unavailable(f"{url} answered with too much")
                document = json.loads(body) if body else {}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise self._unavailable(f"{url}: {type(error).__name__}: {error}") from error
        if not isinstance(document, dict):
            raise self._unavailable(f"{url} answered with no JSON object")
        return response.status_code, document

    def _unavailable(self, detail: str) -> UnavailableError:
        log.warning("provider not usable", issuer=self.issuer, why=detail)
        return UnavailableError(
            f"{self.name} cannot be used right now. Try again in a while, or sign in with your password.",
            retry_after_s=30,
            detail=detail,
        )

    def _now_s(self) -> int:
        return int(self._clock().timestamp())


def admit(
    c: sa.Connection, vouched: Vouched, settings: ServerSettings, *, org_id: int, now_ms: int
) -> UserRow:
    """The active user this is, linked or made on the way; ``org_id`` is where newcomers join.

    Raises:
        NotPermittedError: Nobody here, or somebody who may not come in.
    """
    domain = _ascii_lower(vouched.email.rpartition("@")[2])
    allowed = {_ascii_lower(one).removeprefix("@") for one in settings.oidc_allowed_domains}
    if allowed and "*" not in allowed and domain not in allowed:
        raise NotPermittedError(
            f"People come in from here with a verified email of {' or '.join(sorted(allowed))}."
        )
    known = store.identity(c, vouched.issuer, vouched.subject)
    if known is not None:
        owner = store.organisation_of_user(c, known.user_id)
        user = people.user(c, owner, known.user_id) if owner is not None else None
        if user is None:
            raise NotPermittedError("Your user is gone. Ask an administrator to invite you.")
        return _let_in(c, user, settings, now_ms=now_ms)
    if not vouched.email:
        raise NotPermittedError(
            f"{settings.oidc_name} did not verify your email, so it cannot be told who you are here."
        )
    user = people.user_of_email(c, users.email_key(vouched.email))
    if user is None:
        user = _newcomer(c, vouched, settings, org_id=org_id, now_ms=now_ms)
    # Attack: an address of another mailbox that is the same to us, such as straße for strasse.
    elif _ascii_lower(vouched.email) != _ascii_lower(user.email):
        raise NotPermittedError(
            f"The email that {settings.oidc_name} verified is not written like the one you were invited "
            "with: ask an administrator."
        )
    # Attack: an email that was given to somebody else. Their account stays with its first subject.
    elif any(one.issuer == vouched.issuer for one in store.identities(c, user.org_id, user_id=user.user_id)):
        raise NotPermittedError(
            f"The user {user.email} belongs to another account of {settings.oidc_name}. Ask an administrator."
        )
    user = _let_in(c, user, settings, now_ms=now_ms)
    people.end_links_of(c, user.org_id, user.user_id, now_ms=now_ms)  # an invitation has done its work
    store.add_identity(c, store.IdentityRow(vouched.issuer, vouched.subject, user.user_id, now_ms))
    write.add_audit(
        c, user.org_id, at_ms=now_ms, actor=user.email, action="user.linked", subject=f"user {user.user_id}",
        summary=f"Linked {users.title_of(user)} to their account at {settings.oidc_name}",
        detail={"issuer": vouched.issuer, "subject": vouched.subject},
    )  # fmt: skip
    return user


def _let_in(c: sa.Connection, user: UserRow, settings: ServerSettings, *, now_ms: int) -> UserRow:
    if user.state == DISABLED:
        raise NotPermittedError(f"{user.email} is disabled here. An administrator can enable it.")
    store.lock_people(c, user.org_id)
    return users.activate(c, user, by=f"sign-in by {settings.oidc_name}"[:200], now_ms=now_ms)


def _newcomer(
    c: sa.Connection, vouched: Vouched, settings: ServerSettings, *, org_id: int, now_ms: int
) -> UserRow:
    if not settings.oidc_default_role:
        raise NotPermittedError(f"Nobody invited {_shown(vouched.email)}. Ask an administrator to.")
    if settings.oidc_default_role not in roles_of(c, org_id):
        raise NotPermittedError("There is no role for newcomers. Ask an administrator to set it right.")
    by = f"sign-in by {settings.oidc_name}"[:200]
    try:
        user = users.create(c, org_id, email=vouched.email, name=_name(vouched.name), by=by, now_ms=now_ms)
    except InvalidChangeError as error:
        raise NotPermittedError(error.public) from error
    bind(c, org_id, user.user_id, settings.oidc_default_role, by=by, now_ms=now_ms)
    return user


def _name(text: str) -> str:
    try:
        return users.checked_name(text)
    except InvalidChangeError:
        return ""


def _ascii_lower(text: str) -> str:
    """The one folding that every mail system agrees on."""
    return "".join(one.lower() if one.isascii() else one for one in text)


def _begin_again(why: str) -> NotPermittedError:
    return NotPermittedError(f"{why} Begin again.")


def _shown(text: str) -> str:
    """Something from outside as it may stand in a sentence."""
    return "".join(one for one in text[:100] if one.isprintable())


def _usable_keys(listed: list[Any]) -> list[Any]:
    found = []
    for one in listed:
        # Attack: a symmetric key among the public ones.
        if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP") and one.get("use") != "enc":
            try:
                found.append(import_key(one))
            except (JoseError, ValueError, TypeError) as error:
                log.info("a key of the provider is not usable", why=str(error))
    return found


def _secret(settings: ServerSettings) -> str:
    if not settings.oidc_client_secret_file:
        return settings.oidc_client_secret
    try:
        with open(settings.oidc_client_secret_file, encoding="utf-8") as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"oidc_client_secret_file cannot be read: {error}.") from error
