"""Which page is where, and what every page is given.

A page declares its permission in ``opt`` and takes ``principal``; without one a browser is sent to sign in.
"""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from sealwire.server.api.admin import permitted, provide_plane, provide_principal, provide_tenant
from sealwire.server.ui import pages, render, sign_in


def router() -> Router:
    """All pages, their live screens and static files."""
    render.compile_templates()
    of_people = Router(
        path="/",
        route_handlers=[
            pages.show_home,
            pages.live_home,
            pages.show_fleet,
            pages.live_fleet,
            pages.show_client,
            pages.live_client,
        ],
        guards=[permitted],
        dependencies={
            "principal": Provide(provide_principal),
            "tenant": Provide(provide_tenant),
            "plane": Provide(provide_plane),
            "viewers": Provide(pages.provide_viewers),
        },
    )
    of_anybody = [pages.static_file, sign_in.show_sign_in, sign_in.sign_in, sign_in.sign_out]
    return Router(path="/", route_handlers=[of_people, *of_anybody])
