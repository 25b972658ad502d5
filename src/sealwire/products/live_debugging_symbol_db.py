"""LIVE_DEBUGGING_SYMBOL_DB: asks tracers to send the names of what can be probed.

There is one thing to say, and its file must be called ``symDb…``, as Java and .NET look for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealwire.products.product import ConfigId, Payload, Product, Published
from sealwire.products.schema import Boolean, Record, Report, at

PREFIX: Final = "symDb_"


def _only_on(value: Mapping[str, object], path: str, report: Report) -> None:
    if value.get("upload_symbols") is False:
        report.add(at(path, "upload_symbols"), "There is only true; retire the config to end it.")


def _published(config_id: ConfigId, payload: Payload) -> Published:
    return Published(f"{PREFIX}{config_id}", payload)


PRODUCT = Product(
    name="LIVE_DEBUGGING_SYMBOL_DB",
    title="Symbols for probes",
    reads="debugger_read",
    writes="debugger_write",
    writes_outside_production="debugger_write_pre_prod",
    summary="Has tracers send files, functions and variables of their program, for completion in forms.",
    shape=Record(
        required={"upload_symbols": Boolean(says="Whether they are sent.")},
        also=_only_on,
    ),
    example={"upload_symbols": True},
    beginning={"upload_symbols": True},
    labels={"$.upload_symbols": "Send symbols"},
    file_prefixes=(PREFIX,),
    publisher=_published,
)
