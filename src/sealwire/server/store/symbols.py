"""The rows of symbols: a batch counts once, and who uploads can fill nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from sealwire.server.store.symbol_tables import symbol_batches, symbol_uploads

MAX_BATCHES: Final = 2_000  # of an upload; one that never ends adds to it each time a module is imported
MAX_UPLOAD_BYTES: Final = 16 * 1024 * 1024  # as kept
MAX_SERVICE_UPLOADS: Final = 100
MAX_SERVICE_BYTES: Final = 64 * 1024 * 1024
MAX_UPLOADS: Final = 10_000  # of an organisation
MAX_BYTES: Final = 512 * 1024 * 1024
MAX_KEY_CHARS: Final = 300

_u, _b = symbol_uploads.c, symbol_batches.c


class Upload(NamedTuple):
    """An upload and what there is of it; sums over its batches."""

    upload_key: str
    service: str
    env: str
    version: str
    language: str
    first_ms: int
    last_ms: int
    batches: int
    modules: int
    functions: int
    size: int


_COLUMNS: Final = [_u[name] for name in Upload._fields]


def uploads(c: sa.Connection, org_id: int, service: str) -> list[Upload]:
    """Of a service, the newest first."""
    rows = c.execute(
        sa.select(*_COLUMNS)
        .where(_u.org_id == org_id, _u.service_key == _key(service))
        .order_by(_u.first_ms.desc(), _u.upload_key)
    )
    return [Upload(*row) for row in rows]


def services(c: sa.Connection, org_id: int) -> list[str]:
    """Services there are uploads of, as they are kept."""
    return list(c.scalars(sa.select(_u.service_key).where(_u.org_id == org_id).distinct()))


def packed(c: sa.Connection, org_id: int, upload_key: str) -> Iterator[bytes]:
    """The batches of an upload, the newest first."""
    yield from c.execute(
        sa.select(_b.packed)
        .where(_b.org_id == org_id, _b.upload_key == upload_key)
        .order_by(_b.number.desc())
    ).scalars()


def add(c: sa.Connection, org_id: int, upload: Upload, *, number: int, packed_modules: bytes) -> str:
    """Add a batch, as an upload of one; what is too much for a service or for all goes, the oldest first.

    Returns:
        ``new``, ``repeated``, or ``full`` where the upload may have no more.
    """
    row = c.execute(
        sa.select(_u.batches, _u.size)
        .where(_u.org_id == org_id, _u.upload_key == upload.upload_key)
        .with_for_update()
    ).one_or_none()
    if row is not None:
        if c.execute(
            sa.select(_b.number).where(*_batch(org_id, upload.upload_key), _b.number == number)
        ).first():
            return "repeated"
        if row.batches >= MAX_BATCHES or row.size + upload.size > MAX_UPLOAD_BYTES:
            return "full"
        c.execute(
            sa.update(symbol_uploads)
            .where(_u.org_id == org_id, _u.upload_key == upload.upload_key)
            .values(
                last_ms=upload.last_ms,
                batches=_u.batches + 1,
                modules=_u.modules + upload.modules,
                functions=_u.functions + upload.functions,
                size=_u.size + upload.size,
            )
        )
    else:
        c.execute(
            sa.insert(symbol_uploads).values(
                org_id=org_id, service_key=_key(upload.service), **upload._asdict()
            )
        )
    c.execute(
        sa.insert(symbol_batches).values(
            org_id=org_id, upload_key=upload.upload_key, number=number, packed=packed_modules
        )
    )
    of_service = [_u.service_key == _key(upload.service)]
    _prune(c, org_id, of_service, most=MAX_SERVICE_UPLOADS, most_bytes=MAX_SERVICE_BYTES)
    _prune(c, org_id, [], most=MAX_UPLOADS, most_bytes=MAX_BYTES)
    return "new"


def remove(c: sa.Connection, org_id: int, upload_keys: Sequence[str]) -> None:
    """Take uploads away."""
    for start in range(0, len(upload_keys), 500):
        some = upload_keys[start : start + 500]
        c.execute(sa.delete(symbol_batches).where(_b.org_id == org_id, _b.upload_key.in_(some)))
        c.execute(sa.delete(symbol_uploads).where(_u.org_id == org_id, _u.upload_key.in_(some)))


def _key(service: str) -> str:
    """How a service is found: in lower case, which may be longer than what was given."""
    # What clients call their services is asked for too, and PostgreSQL takes no NUL.
    return service.lower().replace("\0", "\ufffd")[:MAX_KEY_CHARS]


def _batch(org_id: int, upload_key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _b.org_id == org_id, _b.upload_key == upload_key


def _prune(
    c: sa.Connection, org_id: int, where: list[sa.ColumnElement[bool]], *, most: int, most_bytes: int
) -> None:
    count, size = c.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_u.size), 0)).where(
            _u.org_id == org_id, *where
        )
    ).one()
    if count <= most and size <= most_bytes:
        return
    gone: list[str] = []
    for key, each in c.execute(
        sa.select(_u.upload_key, _u.size)
        .where(_u.org_id == org_id, *where)
        .order_by(_u.last_ms, _u.upload_key)
    ):
        if count <= most and size <= most_bytes:
            break
        count, size = count - 1, size - each
        gone.append(key)
    remove(c, org_id, gone)
