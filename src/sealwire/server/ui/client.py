"""One tracer: what it is, what it was sent, what it said, and why it has or has not each config."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sealwire.errors import NotFoundError
from sealwire.products import PRODUCTS
from sealwire.products.product import ClientFacts
from sealwire.server.access.permissions import Principal
from sealwire.server.api.fleet import in_force
from sealwire.server.authoring.editing import as_seen_by, readable_products
from sealwire.server.fleet.effective import REMOTE, InForce, origin_words
from sealwire.server.fleet.explain import FileState, Reasons, Verdict, reasons
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.tenant import Tenant
from sealwire.server.ui.debugger_words import PATH as PROBES
from sealwire.server.ui.render import agent_href, config_link, dom_id, moment
from sealwire.server.ui.views import (
    ClientPage,
    Effective,
    EffectiveValue,
    FileRow,
    Link,
    Other,
    ReasonRow,
    RuleView,
    SettingRow,
    Status,
    connection_status,
    delivery_status,
)
from sealwire.wire.capabilities import Capability

MAX_REASONS = 60
MAX_DOCUMENT_CHARS = 20_000
_NOT_SENT = Status("Not for it", "mute", "minus")
_OVERRIDDEN = Status("Overridden", "mute", "layers")
_ORDER = {Verdict.HAS: 0, Verdict.OVERRIDDEN: 1, Verdict.NOT_FOR_IT: 2}


async def view(tenant: Tenant, fleet: Fleet, client_id: str, principal: Principal) -> ClientPage:
    """The page of a client, with the configs that are the asker's to see.

    Raises:
        NotFoundError: Nobody of that id was here within a day.
    """
    line = next((line for line in fleet.clients if line.client_id == client_id), None)
    if line is None:
        raise NotFoundError("No such client was here within a day.")
    line, readable = as_seen_by(principal, line), readable_products(principal)
    facts = tenant.overview.facts_of(line)
    found = [
        reasons(item.row, item.targeting, facts, line.files)
        for item in list(tenant.publisher.catalogue.active.values())
        if item.row.product in readable
    ]
    # First what it has, then what it nearly has.
    found.sort(
        key=lambda one: (_ORDER[one.verdict], sum(not rule.holds for rule in one.rules), one.row.product)
    )
    runtime, settings = await in_force(tenant, line, readable)
    shown = [one for one in settings if one.is_chosen or one.may_be_sent]
    rest = [one for one in settings if not (one.is_chosen or one.may_be_sent)]
    language, library = facts.language or "unknown language", facts.tracer_version
    return ClientPage(
        title=facts.service or line.client_id,
        status=connection_status(line.standing),
        subtitle=f"{language} {library}".strip() + (f" · {facts.env}" if facts.env else ""),
        host=Link(line.hostname or "(unknown host)", agent_href(line.agent_id)),
        identity=tuple(
            (label, value)
            for label, value in (
                ("Service", facts.service),
                ("Env", facts.env),
                ("Application version", facts.app_version),
                ("Language", facts.language),
                ("Tracer", facts.tracer_version),
                ("Runtime id", facts.runtime_id),
                ("Client id", line.client_id),
            )
            if value
        ),
        first_seen=moment(line.first_seen_s),
        seen=moment(line.seen_s, now=line.waiting),
        products=tuple(sorted(facts.products)),
        capabilities=tuple(sorted(_capability(bit) for bit in facts.capabilities)),
        tags=tuple(sorted(facts.host_tags)),
        files=tuple(_file(tenant, line, file) for file in line.files),
        effective=tuple(_effective(tenant, file) for file in line.files if file.product in readable),
        settings=tuple(_setting(tenant, one) for one in shown),
        defaults=tuple(_setting(tenant, one) for one in rest),
        told=moment(None if runtime is None else runtime.seen_ms / 1000),
        reasons=tuple(_reason(tenant, one) for one in found[:MAX_REASONS]),
        more_reasons=max(0, len(found) - MAX_REASONS),
        live_href=f"/live/client/{quote(line.client_id, safe='')}",
        probes_href=_probes_href(facts, principal),
    )


def _probes_href(facts: ClientFacts, principal: Principal) -> str:
    """The probes of its service; empty for who may not see them."""
    if not facts.service or not principal.may("debugger_read"):
        return ""
    asked = {"service": facts.service, **({"env": facts.env} if facts.env else {})}
    return f"{PROBES}?{urlencode(asked)}"


def _capability(bit: int) -> str:
    try:
        return Capability(bit).name
    except ValueError:
        return f"bit {bit}"


def title_of(product: str) -> str:
    """A product as people call it."""
    return PRODUCTS[product].title if product in PRODUCTS else product


def link_to_config(tenant: Tenant, config_id: str) -> Link:
    """A config by its name, while it is active."""
    item = tenant.publisher.catalogue.active.get(config_id)
    return config_link(config_id, item.row.name if item is not None else "")


def _file(tenant: Tenant, line: ClientLine, file: FileState) -> FileRow:
    return FileRow(
        dom_id=dom_id("file", f"{line.client_id} {file.path}"),
        status=delivery_status(file.state),
        product=file.product,
        title=title_of(file.product),
        configs=tuple(link_to_config(tenant, config_id) for config_id in file.config_ids),
        version=file.version,
        reported_version=file.reported_version,
        saved=moment(file.saved_ms / 1000),
        acknowledged=moment(file.acknowledged_ms / 1000 if file.acknowledged_ms else None),
        took="" if file.took_s is None else f"{file.took_s:.1f} s",
        error=file.error,
    )


def _effective(tenant: Tenant, file: FileState) -> Effective:
    row = tenant.publisher.files.get(file.path)
    payload: Any = orjson.loads(row.raw) if row is not None else {}
    values = tuple(
        EffectiveValue(path.removeprefix("$."), _shown(_at(payload, path)), link_to_config(tenant, config_id))
        for path, config_id in sorted(file.provenance.items())
    )
    document = orjson.dumps(payload, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    if len(document) > MAX_DOCUMENT_CHARS:
        document = document[:MAX_DOCUMENT_CHARS] + f"\n… {len(document) - MAX_DOCUMENT_CHARS} characters more"
    return Effective(file.product, title_of(file.product), values, document)


def _at(payload: Any, path: str) -> Any:
    """The value at a path of provenance, which is keys and nothing else."""
    value = payload
    for name in path.removeprefix("$").removeprefix(".").split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_NOBODYS = frozenset({"calculated", "default", "unknown"})
NOT_SET = "not set"


def _setting(tenant: Tenant, one: InForce) -> SettingRow:
    sent = one.sent
    return SettingRow(
        name=one.name,
        value=NOT_SET if one.value is None else one.value,
        origin=origin_words(one.origin),
        tone="info" if one.origin == REMOTE else "mute" if one.origin in _NOBODYS else "",
        sent="" if sent is None else sent.value,
        sent_key="" if sent is None else f"{sent.product} {sent.key}",
        config=link_to_config(tenant, sent.config_id) if sent is not None and sent.config_id else None,
        differs=sent is not None and one.origin != REMOTE,
        error=one.error,
        others=tuple(
            Other(origin_words(other.origin), NOT_SET if other.value is None else other.value)
            for other in one.others
        ),
    )


def _reason(tenant: Tenant, one: Reasons) -> ReasonRow:
    row = one.row
    if one.verdict is Verdict.NOT_FOR_IT:
        status, note = _NOT_SENT, ""
    elif one.verdict is Verdict.OVERRIDDEN:
        status, note = _OVERRIDDEN, "Each of its values is set by a config that is more precise or newer."
    elif one.file is None:
        status, note = Status("Not sent yet", "wait", "clock"), "It will be in the next answer to its agent."
    else:
        status = delivery_status(one.file.state)
        names = ", ".join(path.removeprefix("$.") for path in one.wins)
        note = f"Sets {names}." if names else ""
    return ReasonRow(
        config_link(row.config_id, row.name),
        row.product,
        title_of(row.product),
        row.revision,
        status,
        tuple(RuleView(rule.holds, rule.text) for rule in one.rules),
        note,
    )
