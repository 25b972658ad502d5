"""How large a thing that arrives may be: one table, asked before anything is parsed.

A length is checked on the bytes as received, so an oversized body costs its transfer and nothing more. Each
limit carries its reason. Sizes of signed documents are not here: ``trust`` has its own table.
"""

from __future__ import annotations

from typing import Final

from sealwire.errors import OversizeError

# A client with 10,000 cached files of 150 bytes of JSON each is 1.5 MB; error texts need room too.
MAX_CLIENT_REQUEST_BYTES: Final = 4 * 1024 * 1024

# Mending broken text costs 0.15 s a megabyte where the text is nothing but escapes.
MAX_MENDED_BYTES: Final = 512 * 1024

# Empty objects are three bytes of JSON and a thousand times that in work, so lists have a length as well.
MAX_CLIENT_CONFIGS: Final = 20_000
MAX_FILE_HASHES: Final = 16

# 100 MB of files (the limit of `trust`) grow by a third in base64; targets and a chain of roots come on top.
MAX_CLIENT_RESPONSE_BYTES: Final = 144 * 1024 * 1024

# An agent with 1,000 clients of 4 kB is 4 MB. Small messages take up to 40 times their bytes once parsed.
MAX_LATEST_CONFIGS_REQUEST_BYTES: Final = 8 * 1024 * 1024
MAX_AGENT_CLIENTS: Final = 10_000
# Over all clients of an agent; a state takes 30 bytes at least when it says anything.
MAX_AGENT_CONFIG_STATES: Final = 300_000

# 100 MB of files, and the metadata of two repositories.
MAX_LATEST_CONFIGS_RESPONSE_BYTES: Final = 120 * 1024 * 1024

# One UUID, or two booleans.
MAX_ORG_BYTES: Final = 4096

# The table has 50 bits; 1,024 leave room for decades, and keep `decode` from walking a megabyte.
MAX_CAPABILITIES_BYTES: Final = 128

# Echoed by every client at every poll. Ours is below 100 bytes.
MAX_BACKEND_STATE_BYTES: Final = 16 * 1024

# Longer than any file system takes; a path is a key in many tables.
MAX_PATH_BYTES: Final = 4096

# A predicate is a handful of comparisons; a signed one may still be silly.
MAX_CONSTRAINT_CHARS: Final = 1024
MAX_VERSION_CHARS: Final = 256


def check_size(what: str, size: int, limit: int) -> None:
    """Refuse ``what`` when its size is above its limit.

    Args:
        what: Names the thing in the sentence, such as ``"client request"``.
        size: In bytes (or characters where the limit says so), as received.
        limit: One of this table.

    Raises:
        OversizeError: It is larger.
    """
    if size > limit:
        raise OversizeError(f"The {what} has {size} bytes; at most {limit} are taken.")


def check_count(what: str, count: int, limit: int) -> None:
    """Refuse a list when it has more entries than its limit.

    Args:
        what: Names the entries in the sentence, such as ``"cached files"``.
        count: How many there are.
        limit: One of this table.

    Raises:
        OversizeError: There are more.
    """
    if count > limit:
        raise OversizeError(f"There are {count} {what}; at most {limit} are taken.")
