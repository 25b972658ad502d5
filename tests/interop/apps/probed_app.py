"""A Flask application to put probes into; run under an unmodified ddtrace, knows nothing of Sealwire.

Prints the port it got. What is probed is in ``probed_shop`` beside it; ``probed_later`` is not loaded before
somebody asks for it.
"""

from __future__ import annotations

import logging
import os
import time

import probed_shop
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask("probed")


@app.get("/")
def home() -> str:
    return "welcome"


@app.get("/order")
def order() -> object:
    """Sell something: ``/order?sku=wax&count=3``."""
    sku, count = request.args.get("sku", "wax"), int(request.args.get("count", "1"))
    return jsonify({"total": probed_shop.sell(sku, count)})


@app.get("/sorts")
def sorts() -> object:
    """Call what has variables of every kind."""
    return jsonify({"count": probed_shop.all_sorts()})


@app.get("/later")
def later() -> object:
    """Load a module that was not needed before, and call it."""
    import probed_later

    return jsonify({"said": probed_later.greet(request.args.get("name", "you"))})


@app.get("/speed")
def speed() -> object:
    """How long one call takes, in nanoseconds: the best of many short runs, as others run here too."""
    best = float("inf")
    for _ in range(int(request.args.get("runs", "60"))):
        began = time.perf_counter_ns()
        for number in range(2_000):
            probed_shop.quick(number)
        best = min(best, (time.perf_counter_ns() - began) / 2_000)
    return jsonify({"ns": best})


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "0")), app, threaded=True)
    print(f"listening on 127.0.0.1:{server.port} pid {os.getpid()}", flush=True)
    server.serve_forever()
