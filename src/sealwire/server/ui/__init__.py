"""The web pages: HTML made here from the same functions the admin API calls.

    router    which page is where, and what every page is given
    pages     the pages; one function each
    views     what a template may see: one frozen value per page
    live      the same rows again, as they change
    render    templates to bytes, and what every page has around it
    answers   headers of every page; errors as pages or as JSON, whichever was asked for
    assets    static files under a content hash
    filters   ``service:shop state:failing``; tables: sort and keyset pages from the address; charts: SVG

To add a page: a handler in ``pages.py`` or a module of its own, a dataclass in ``views.py`` or beside it, a
template that extends ``base.html``, a line in ``router.py``, and one in ``tests/browser/pages.py``.
"""
