"""Every page there is, by name. A page that is not here is not looked at by anybody."""

from __future__ import annotations

from tests.support.simulated_fleet import FAILING

PAGES: dict[str, str] = {
    "home": "/",
    "fleet": "/fleet",
    "fleet-filtered": "/fleet?q=service:shop+env:prod&sort=-seen",
    "fleet-nothing": "/fleet?q=service:nobody",
    "fleet-wrong-filter": "/fleet?q=servise:shop+state:fine",
    "agents": "/fleet?tab=agents",
    "client": f"/fleet/clients/{FAILING}",
    "configs": "/configs",
    "configs-all": "/configs?state=all&sort=name",
    "configs-nothing": "/configs?q=service:nobody",
    "configs-wrong-filter": "/configs?q=state:actve",
    "webhooks": "/webhooks",
    "webhooks-new": "/webhooks/new",
    "guide": "/guide/how-it-works",
    "guide-tracers": "/guide/tracers",
    "guide-troubleshooting": "/guide/troubleshooting",
    "keys": "/keys",
    "keys-new": "/keys/new",
    "settings": "/settings",
    "settings-switch": "/settings/remote-configuration",
    "support": "/support",
    "support-python": "/support?language=python",
    "audit": "/audit",
    "audit-filtered": "/audit?q=action:config.*+-actor:nobody&from=2026-01-01",
    "audit-nothing": "/audit?q=actor:nobody",
    "audit-wrong-filter": "/audit?q=akter:ann&until=soon",
    "audit-event": "/audit/1",
    "trust": "/trust",
    "trust-rotate": "/trust/director/rotate",
    "trust-recover": "/trust/config/recover",
    "not-found": "/nothing-here",
}
