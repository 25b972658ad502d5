"""One tracer: what it is, what it was sent, what it said, and why it has or has not each config."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson

from sealwire.errors import NotFoundError
from sealwire.products import PRODUCTS
from sealwire.server.explain import FileState, Reasons, Verdict, reasons
from sealwire.server.overview import ClientLine, Fleet
from sealwire.server.tenant import Tenant
from sealwire.server.ui.fleet import AGENTS, href
from sealwire.server.ui.render import config_link, dom_id, moment
from sealwire.server.ui.views import (
    ClientPage,
    Effective,
    EffectiveValue,
    FileRow,
    Link,
    ReasonRow,
    RuleView,
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


def view(tenant: Tenant, fleet: Fleet, client_id: str) -> ClientPage:
    """The page of a client.

    Raises:
        NotFoundError: Nobody of that id was here within a day.
    """
    line = next((line for line in fleet.clients if line.client_id == client_id), None)
    if line is None:
        raise NotFoundError("No such client was here within a day.")
    facts = tenant.overview.facts_of(line)
    found = [
        reasons(item.row, item.targeting, facts, line.files)
        for item in list(tenant.publisher.catalogue.active.values())
    ]
    # First what it has, then what it nearly has.
    found.sort(
        key=lambda one: (_ORDER[one.verdict], sum(not rule.holds for rule in one.rules), one.row.product)
    )
    language, library = facts.language or "unknown language", facts.tracer_version
    return ClientPage(
        title=facts.service or line.client_id,
        status=connection_status(line.standing),
        subtitle=f"{language} {library}".strip() + (f" · {facts.env}" if facts.env else ""),
        host=Link(line.hostname, href(tab=AGENTS, q=f'host:"{line.hostname}"')),
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
        effective=tuple(_effective(tenant, file) for file in line.files),
        reasons=tuple(_reason(tenant, one) for one in found[:MAX_REASONS]),
        more_reasons=max(0, len(found) - MAX_REASONS),
        live_href=f"/live/client/{quote(line.client_id, safe='')}",
    )


def _capability(bit: int) -> str:
    try:
        return Capability(bit).name
    except ValueError:
        return f"bit {bit}"


def _title(product: str) -> str:
    return PRODUCTS[product].title if product in PRODUCTS else product


def _link(tenant: Tenant, config_id: str) -> Link:
    item = tenant.publisher.catalogue.active.get(config_id)
    return config_link(config_id, item.row.name if item is not None else "")


def _file(tenant: Tenant, line: ClientLine, file: FileState) -> FileRow:
    return FileRow(
        dom_id=dom_id("file", f"{line.client_id} {file.path}"),
        status=delivery_status(file.state),
        product=file.product,
        title=_title(file.product),
        configs=tuple(_link(tenant, config_id) for config_id in file.config_ids),
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
        EffectiveValue(path.removeprefix("$."), _shown(_at(payload, path)), _link(tenant, config_id))
        for path, config_id in sorted(file.provenance.items())
    )
    document = orjson.dumps(payload, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    if len(document) > MAX_DOCUMENT_CHARS:
        document = document[:MAX_DOCUMENT_CHARS] + f"\n… {len(document) - MAX_DOCUMENT_CHARS} characters more"
    return Effective(file.product, _title(file.product), values, document)


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
        _title(row.product),
        row.revision,
        status,
        tuple(RuleView(rule.holds, rule.text) for rule in one.rules),
        note,
    )
