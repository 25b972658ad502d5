"""A small shop on Flask, run under an unmodified ddtrace; knows nothing of Sealwire.

Prints the port it got, so that no two tests fight for one.
"""

from __future__ import annotations

import inspect
import logging
import os

from ddtrace.appsec.trace_utils import block_request_if_user_blocked
from ddtrace.debugging import DynamicInstrumentation
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

try:
    from ddtrace.trace import tracer
except ImportError:  # 2.x
    from ddtrace import tracer

app = Flask("shop")


@app.get("/")
def home() -> str:
    return "welcome"


@app.get("/user/<user_id>")
def user(user_id: str) -> str:
    """Asks the SDK whether this user is blocked; it answers the request itself if so."""
    with_tracer = "tracer" in inspect.signature(block_request_if_user_blocked).parameters
    block_request_if_user_blocked(*((tracer, user_id) if with_tracer else (user_id,)))
    return f"hello {user_id}"


@app.get("/headers")
def headers() -> object:
    """What the request carried, and the trace it is in."""
    span = tracer.current_root_span()
    return jsonify({"headers": dict(request.headers), "span_tags": dict(span.get_tags()) if span else {}})


@app.get("/effective")
def effective() -> object:
    """What the tracer goes by at this moment, seen in a trace of its own: rate, decision maker, tags."""
    span = tracer.start_span("effective", activate=False)
    tracer.sample(span)
    seen = {
        "rate": span.get_metric("_dd.rule_psr"),
        "decision": (span.context._meta or {}).get("_dd.p.dm"),
        "tags": dict(span.get_tags()),
        "dynamic_instrumentation": DynamicInstrumentation._instance is not None,
    }
    span.finish()
    return jsonify(seen)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "0")), app, threaded=True)
    print(f"listening on 127.0.0.1:{server.port} pid {os.getpid()}", flush=True)
    server.serve_forever()
