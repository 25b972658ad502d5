"""Drives the Uptane client inside the ddtrace wheel; runs under that wheel's own Python, one order per line.

Standard input: ``{"site", "api_key", "hostname", "config_root", "director_root"}`` begins with a fresh
client, ``{"products": ["ASM_DATA", ...]}`` polls with it. Standard output: a line per order, ``{"ok",
"error", "changes", "interval_s"}``, where ``changes`` is a list of ``[path, contents or null]``.
"""

from __future__ import annotations

import json
import sys
import uuid

from ddtrace.internal.native import RemoteConfigClient, RemoteConfigProduct
from ddtrace.internal.native_runtime import get_native_runtime

PRODUCTS = {
    str(getattr(RemoteConfigProduct, name)): getattr(RemoteConfigProduct, name)
    for name in dir(RemoteConfigProduct)
    if not name.startswith("_")
}


def begin(order: dict[str, str]) -> RemoteConfigClient:
    return RemoteConfigClient(
        get_native_runtime(),
        agent_url="http://127.0.0.1:9",  # not asked: an API key selects the direct way
        tracer_version="4.16.0",
        client_id=str(uuid.uuid4()),
        runtime_id=uuid.uuid4().hex,
        service="shop",
        env="prod",
        app_version="1.2.3",
        language="python",
        timeout_ms=5000,
        **order,
    )


def poll(client: RemoteConfigClient, names: list[str]) -> dict[str, object]:
    changes = []
    try:
        for change in client.poll([PRODUCTS[name] for name in names], []):
            content = None if change.content is None else bytes(change.content).decode()
            changes.append([change.path, content])
    except Exception as refused:
        return {"ok": False, "error": f"{type(refused).__name__}: {refused}", "changes": changes}
    return {"ok": True, "error": "", "changes": changes}


client = None
for line in sys.stdin:
    order = json.loads(line)
    if "site" in order:
        client = begin(order)
        answer = {"ok": True, "error": "", "changes": []}
    else:
        answer = poll(client, order["products"])
    answer["interval_s"] = client.get_refresh_interval()
    print(json.dumps(answer), flush=True)
