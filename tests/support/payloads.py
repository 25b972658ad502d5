"""Payloads that tests of the whole chain use again and again."""

from __future__ import annotations

from typing import Any

ON: dict[str, Any] = {"asm": {"enabled": True}}
OFF: dict[str, Any] = {"asm": {"enabled": False}}

DENIED = "203.0.113.7"
OTHER = "198.51.100.9"
DENIED_USER = "mallory"
OTHER_USER = "bob"


def denied_ips(*addresses: str, until_s: int | None = None) -> dict[str, Any]:
    """ASM_DATA: these addresses are blocked, for ever or until a Unix second."""
    more = {} if until_s is None else {"expiration": until_s}
    entries = [{"value": address, **more} for address in addresses or (DENIED,)]
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": entries}]}


def denied_users(*users: str) -> dict[str, Any]:
    """ASM_DATA: these users are blocked."""
    entries = [{"value": user} for user in users or (DENIED_USER,)]
    return {"rules_data": [{"id": "blocked_users", "type": "data_with_expiration", "data": entries}]}


def tracing(**settings: Any) -> dict[str, Any]:
    """APM_TRACING: these settings."""
    return {"lib_config": settings}


def _header_is(name: str, regex: str) -> dict[str, Any]:
    where = [{"address": "server.request.headers.no_cookies", "key_path": [name]}]
    return {"operator": "match_regex", "parameters": {"inputs": where, "regex": regex}}


def _address_in(**operand: Any) -> dict[str, Any]:
    return {"operator": "ip_match", "parameters": {"inputs": [{"address": "http.client_ip"}], **operand}}


def custom_rule(prefix: str) -> dict[str, Any]:
    """ASM: user agents ``<prefix>-exporter/0.*`` get 418; element ids start with ``prefix``."""
    return {
        "actions": [
            {
                "id": f"{prefix}-teapot",
                "type": "block_request",
                "parameters": {"status_code": 418, "type": "json"},
            }
        ],
        "custom_rules": [
            {
                "id": f"{prefix}-001",
                "name": "Block old exporters",
                "tags": {"type": "acme_policy", "category": "attack_attempt"},
                "conditions": [_header_is("user-agent", f"^{prefix}-exporter/0\\.")],
                "transformers": [],
                "on_match": [f"{prefix}-teapot"],
            }
        ],
    }


def exclusion(prefix: str, address: str) -> dict[str, Any]:
    """ASM: no rule looks at requests from ``address``."""
    return {"exclusions": [{"id": f"{prefix}-office", "conditions": [_address_in(list=[address])]}]}


def own_rules(version: str) -> dict[str, Any]:
    """ASM_DD: rules of one's own, which replace the bundled ones; the denylist of addresses is among them."""
    return {
        "version": "2.2",
        "metadata": {"rules_version": version},
        "rules": [
            {
                "id": "blk-001-001",
                "name": "Block IP addresses",
                "tags": {"type": "block_ip", "category": "security_response"},
                "conditions": [_address_in(data="blocked_ips")],
                "transformers": [],
                "on_match": ["block"],
            },
            {
                "id": "acme-ua-1",
                "name": "Acme scanner",
                "tags": {"type": "attack_tool", "category": "attack_attempt", "confidence": "1"},
                "conditions": [_header_is("user-agent", "^acme-scanner/")],
                "transformers": [],
                "on_match": ["block"],
            },
        ],
    }
