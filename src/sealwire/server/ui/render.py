"""Templates to answers, and what every page has around it.

Everything is escaped, and a name a template does not find is an error and not an empty text. There is no
inline script and no inline style anywhere: the policy of ``answers`` would refuse it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response

from sealwire import __version__
from sealwire.server.access import Principal
from sealwire.server.access.permissions import SIGNED_IN
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.assets import assets
from sealwire.server.ui.views import NEVER, Frame, Link, Moment, NavItem

THEME_COOKIE = "sealwire_theme"
THEMES = ("light", "dark")

#: Section, label, address, icon, permission. Only pages that exist; a page is current for all below it.
NAVIGATION: tuple[tuple[str, str, str, str, str], ...] = (
    ("", "Home", "/", "house", "fleet_read"),
    ("", "Fleet", "/fleet", "network", "fleet_read"),
    ("Security", "Signals", "/security/signals", "bell", "security_monitoring_signals_read"),
    ("Security", "Traces", "/security/traces", "activity", "security_monitoring_signals_read"),
    ("Security", "Detection rules", "/security/rules", "list-checks", "security_monitoring_rules_read"),
    ("Configure", "Configs", "/configs", "file-json", "rc_config_read"),
    ("Protect", "Services", "/protect", "shield", "appsec_protect_read"),
    ("Protect", "Denylist", "/protect/denylist", "ban", "appsec_protect_read"),
    ("Protect", "Policies", "/protect/policies", "layers", "appsec_event_rule_read"),
    ("Instrumentation", "Probes", "/debugger", "crosshair", "debugger_read"),
    ("Instrumentation", "Snapshots", "/debugger/snapshots", "file-text", "debugger_read"),
    ("Instrumentation", "Services", "/debugger/services", "network", "debugger_read"),
    ("Instrumentation", "Settings", "/debugger/settings", "settings", "debugger_read"),
    ("Watch", "Propagation", "/propagation", "timer", "fleet_read"),
    ("Watch", "Audit trail", "/audit", "scroll-text", "audit_logs_read"),
    ("Organisation", "API keys", "/keys", "key-round", "api_keys_read"),
    ("Organisation", "People", "/people", "users", "user_access_read"),
    ("Organisation", "Webhooks", "/webhooks", "webhook", "webhooks_read"),
    ("Organisation", "Settings", "/settings", "settings", "org_management"),
    ("Organisation", "Trust", "/trust", "shield-check", "rc_keys_read"),
    ("Help", "Guide", "/guide", "book-open", "signed_in"),
    ("Help", "Support matrix", "/support", "table", "fleet_read"),
)

#: Pages that are part of another one's line.
_PART_OF = dict.fromkeys(
    ("/protect/passlist", "/protect/modes", "/protect/rules", "/protect/block-page", "/protect/rule-sets"),
    "/protect/policies",
) | dict.fromkeys(("/protect/block", "/protect/import", "/protect/feeds"), "/protect/denylist")

environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def _sprite() -> str:
    return next(
        path for path in assets().files if path.startswith("vendor/lucide-") and path.endswith(".svg")
    )


def _vendored(prefix: str) -> str:
    """A vendored file without naming its version: ``htmx`` finds ``vendor/htmx-4.0.1.js``."""
    found = [path for path in assets().files if path.startswith(f"vendor/{prefix}-")]
    shortest = min(found, key=len, default=None)
    if shortest is None:
        raise RuntimeError(f"no vendored file {prefix}")
    return assets().url(shortest)


environment.globals.update(
    static=lambda path: assets().url(path),
    vendored=_vendored,
    sprite=assets().url(_sprite()),
    icon_file=assets().url("icon.svg"),
)


async def read_templates(*, after_s: float = 5.0, rest_s: float = 0.05) -> None:
    """Read every template before somebody asks for it, one at a time beside all else.

    All together take a second of a core, for which neither a start nor somebody's first visit waits.
    """
    await asyncio.sleep(after_s)
    for name in environment.list_templates():
        await asyncio.to_thread(environment.get_template, name)
        await asyncio.sleep(rest_s)


def page(
    request: Request[Any, Any, Any],
    template: str,
    *,
    title: str,
    view: object,
    principal: Principal | None,
    tenant: Tenant | None,
    status_code: int = 200,
) -> Response[str]:
    """Render a whole page."""
    frame = Frame(
        title=title,
        sections=_sections(request.url.path, principal) if principal is not None else (),
        theme=theme if (theme := request.cookies.get(THEME_COOKIE, "")) in THEMES else "",
        user=principal.user if principal is not None else "",
        role=principal.role if principal is not None else "",
        organisation=tenant.organisation.name if tenant is not None else "",
        version=__version__,
        done=(said := forms.was_done(request)).removeprefix(forms.NOT_DONE),
        went_wrong=said.startswith(forms.NOT_DONE),
        switched_off=_switched_off(tenant) if tenant is not None else "",
        settings_href="/settings" if principal is not None and is_open("/settings", principal) else "",
    )
    html = environment.get_template(template).render(view=view, frame=frame, now=moment(time.time()).iso)
    answer = Response(html, status_code=status_code, media_type=MediaType.HTML)
    if frame.done:
        answer.delete_cookie(forms.DONE_COOKIE)
    return answer


def macro(template: str, name: str) -> Callable[..., str]:
    """A macro of a template, for fragments: the page and its live rows come from the same one."""
    found = getattr(environment.get_template(template).module, name)

    def call(*arguments: object) -> str:
        return str(found(*arguments)).strip()

    return call


def _sections(path: str, principal: Principal) -> tuple[tuple[str, tuple[NavItem, ...]], ...]:
    path = next(
        (line for part, line in _PART_OF.items() if path == part or path.startswith(part + "/")), path
    )
    found: dict[str, list[NavItem]] = {}
    above = [href for _, _, href, *_ in NAVIGATION if path == href or path.startswith(href + "/")]
    current = max(above, key=len, default="")
    for section, label, href, icon, permission in NAVIGATION:
        if permission != SIGNED_IN and not principal.may(permission):
            continue
        is_current = href == current
        found.setdefault(section, []).append(NavItem(label, href, icon, is_current))
    return tuple((section, tuple(items)) for section, items in found.items())


def _switched_off(tenant: Tenant) -> str:
    organisation = tenant.organisation
    if not organisation.remote_config:
        return "Remote Configuration is off: agents are refused, and what is saved reaches nobody."
    if organisation.withdrawing_ms is not None:
        return "Remote Configuration is going off: agents are given a state without configs."
    return ""


def is_open(path: str, principal: Principal) -> bool:
    """Whether a page of the navigation or below it, or the first steps, is one that they may open."""
    needed = {href: permission for _, _, href, _, permission in NAVIGATION} | {"/start": "agent_enroll"}
    above = [href for href in needed if path == href or path.startswith(href + "/")]
    permission = needed[max(above, key=len)] if above else SIGNED_IN
    return permission == SIGNED_IN or principal.may(permission)


def has_page(path: str) -> bool:
    """Whether a page is there to be linked to."""
    return any(href == path for _, _, href, *_ in NAVIGATION)


# Small things that pages say --------------------------------------------------------------------------


def moment(at_s: float | None, *, now: bool = False) -> Moment:
    """A time for a page, seconds since 1970."""
    if at_s is None or at_s <= 0:
        return NEVER
    return Moment(datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), now)


def dom_id(kind: str, identity: str) -> str:
    """An element id for something whose own id anybody may choose."""
    return f"{kind}-{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def client_href(client_id: str) -> str:
    """The page of a client."""
    return f"/fleet/clients/{quote(client_id, safe='')}"


def agent_href(agent_id: str) -> str:
    """The page of an agent."""
    return f"/fleet/agents/{quote(agent_id, safe='')}"


def config_link(config_id: str, name: str) -> Link:
    """A config by its name, leading to its page once there is one."""
    return Link(name or config_id, f"/configs/{config_id}" if has_page("/configs") else None)
