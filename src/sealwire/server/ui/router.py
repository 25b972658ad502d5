"""Which page is where, and what every page is given.

A page declares its permission in ``opt`` and takes ``principal``; without one a browser is sent to sign in.
Each module of pages lists its handlers as ``HANDLERS``, or as ``OPEN_HANDLERS`` those that anybody gets to.
"""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from sealwire.server.api import install
from sealwire.server.api.guard import guarded
from sealwire.server.ui import (
    account,
    agent,
    application_keys,
    audit,
    config_form,
    configs,
    debugger,
    debugger_form,
    debugger_services,
    debugger_settings,
    debugger_snapshots,
    debugger_stop,
    guide,
    join,
    keys,
    pages,
    people,
    propagation,
    protect,
    protect_block,
    protect_denylist,
    protect_lists,
    protect_policies,
    protect_policies_modes,
    protect_policies_rule_sets,
    protect_policies_rules,
    resume,
    roles,
    security_rules,
    security_signals,
    security_traces,
    settings,
    sign_in,
    single_sign_on,
    start,
    support,
    trust,
    webhooks,
)

_GUARDED = (
    account, agent, application_keys, audit, config_form, configs, debugger, debugger_form,
    debugger_services, debugger_settings, debugger_snapshots, debugger_stop, guide, keys, pages,
    people, propagation, protect, protect_block, protect_denylist, protect_lists, protect_policies,
    protect_policies_modes, protect_policies_rule_sets, protect_policies_rules, resume, roles,
    security_rules, security_signals, security_traces, settings, start, support, trust, webhooks,
)  # fmt: skip
_OPEN = (pages, join, sign_in, single_sign_on, install)


def router() -> Router:
    """All pages, their live screens and static files."""
    of_people = guarded(
        "/",
        [handler for module in _GUARDED for handler in module.HANDLERS],
        viewers=Provide(pages.provide_viewers),
    )
    of_anybody = [handler for module in _OPEN for handler in module.OPEN_HANDLERS]
    return Router(path="/", route_handlers=[of_people, *of_anybody])
