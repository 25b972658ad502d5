"""A small shop to try things on: ``python -m sealwire.demo --port 8080``.

An ordinary Flask application that knows nothing of Sealwire. Under ``ddtrace-run`` the tracer protects it
as soon as a config says so. It listens on this machine only.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, jsonify, redirect, render_template, request, session, url_for
from werkzeug.serving import make_server
from werkzeug.wrappers import Response as AnyResponse

Answer = str | tuple[str, int] | Response | AnyResponse


@dataclass(frozen=True, slots=True)
class Article:
    """Something to buy; the price is in cents."""

    number: int
    name: str
    about: str
    cents: int
    picture: str

    @property
    def price(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02d}"


ARTICLES = {
    article.number: article
    for article in (
        Article(1, "Sealing wax, red", "Twelve sticks. Breaks clean, so nobody reads along.", 950, "🕯️"),
        Article(2, "Signet ring", "Brass, engraved with two roots and a crown.", 4900, "💍"),
        Article(3, "Carrier pigeon", "Polls every five seconds. Feed included.", 12900, "🕊️"),
        Article(4, "Letter scale", "Knows when a parcel is longer than it was signed.", 3450, "⚖️"),
        Article(5, "Strongbox", "Three keys, two of which open it.", 18900, "🧰"),
        Article(6, "Hourglass", "Ten days. Then it tells you.", 2200, "⏳"),
    )
}
PASSWORD = "letters"  # of everybody: this is a shop to try things on


def make_shop(*, secret: bytes) -> Flask:
    """The application.

    Args:
        secret: Signs the cart's cookie; fresh at each start, nothing here is worth keeping.
    """
    shop = Flask("shop", root_path=str(Path(__file__).parent))
    shop.secret_key = secret
    shop.config.update(
        SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True, MAX_CONTENT_LENGTH=64 * 1024
    )

    def page(title: str, *, articles: list[Article] | None = None, **more: object) -> str:
        return render_template(
            "shop.html",
            title=title,
            articles=articles,
            user=session.get("user"),
            basket_size=len(session.get("basket", [])),
            **more,
        )

    @shop.get("/")
    def home() -> Answer:
        return page(
            "Everything for trusted letters", articles=list(ARTICLES.values()), address=visitor_address()
        )

    @shop.get("/product/<int:number>")
    def product(number: int) -> Answer:
        article = ARTICLES.get(number)
        if article is None:
            return page("We do not have that", about="Perhaps it is on another shelf."), 404
        return page(article.name, articles=[article])

    @shop.get("/search")
    def search() -> Answer:
        wanted = request.args.get("q", "")
        found = [ARTICLES[number] for number in numbers_like(wanted)]
        return page(f"Results for “{wanted}”" if wanted else "Search", articles=found, q=wanted)

    @shop.route("/login", methods=["GET", "POST"])
    def login() -> Answer:
        if request.method == "GET":
            return page("Sign in", show_login=True, about=f"With any name; the password is “{PASSWORD}”.")
        name = request.form.get("login", "").strip()[:64]
        if not name:
            return page("Sign in", show_login=True, about="A name is needed."), 400
        if request.form.get("password", "") != PASSWORD:
            tell_tracer("track_login_failure", name, exists=True, user_id=name)
            return page("Sign in", show_login=True, about="That is not the password."), 401
        tell_tracer("track_login_success", name, user_id=name)
        session["user"] = name
        return redirect(url_for("home"))

    @shop.route("/cart", methods=["GET", "POST"])
    def cart() -> Answer:
        basket: list[int] = [number for number in session.get("basket", []) if number in ARTICLES]
        if request.method == "POST":
            number = request.form.get("number", type=int)
            if number not in ARTICLES:
                return page("We do not have that"), 400
            session["basket"] = [*basket, number][-20:]
            return redirect(url_for("cart"))
        total = total_of([ARTICLES[number] for number in basket])
        about = f"{len(basket)} in the cart, € {total // 100}.{total % 100:02d} together."
        return page("Your cart", articles=[ARTICLES[number] for number in dict.fromkeys(basket)], about=about)

    @shop.get("/healthz")
    def healthz() -> Answer:
        return jsonify(status="ok")

    return shop


def visitor_address() -> str:
    """Where the request says it comes from: the first forwarded address, else the connection's."""
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")[0].strip()
    return forwarded or request.remote_addr or "somewhere"


def total_of(articles: list[Article]) -> int:
    """What they cost together, in cents; a good place for a probe."""
    total = 0
    for article in articles:
        total += article.cents
    return total


def numbers_like(wanted: str) -> Iterable[int]:
    """Numbers of the articles whose texts hold a text, asked of a database as any shop would."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table articles (number integer, text text)")
        database.executemany(
            "insert into articles values (?, ?)",
            [(article.number, f"{article.name} {article.about}") for article in ARTICLES.values()],
        )
        found = database.execute("select number from articles where instr(lower(text), lower(?))", (wanted,))
        return [number for (number,) in found]


def tell_tracer(what: str, name: str, **more: object) -> None:
    """Tell the tracer of a login, if one is there; it may refuse the request for it.

    What an application of any shop owner would do, so that attacks on accounts are seen and users can be
    blocked.

    Args:
        what: A function of the tracer's SDK, such as ``track_login_success``.
    """
    if "ddtrace" not in sys.modules:
        return
    track: Callable[..., None] = getattr(importlib.import_module("ddtrace.appsec.track_user_sdk"), what)
    track(name, **more)


def main(argv: list[str] | None = None) -> int:
    """Serve the shop until stopped."""

    parser = argparse.ArgumentParser(
        prog="python -m sealwire.demo", description="A small shop to try things on."
    )
    parser.add_argument("--port", type=int, default=8080, help="default: 8080")
    port = parser.parse_args(argv).port
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    server = make_server("127.0.0.1", port, make_shop(secret=secrets.token_bytes(32)), threaded=True)
    sys.stdout.write(f"The shop is open on http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0
