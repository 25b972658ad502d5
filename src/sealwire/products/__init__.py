"""What can be configured: one file per product, found by being there.

To add a product, add a file to this package that defines ``PRODUCT`` and carries the product's name in
lower case. Nothing else lists products.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products.product import ClientFacts, ConfigId, Merged, Product, Source
from sealwire.products.schema import nearest, quote

__all__ = ["PRODUCTS", "ClientFacts", "ConfigId", "Merged", "Product", "Source", "get"]


def _find() -> Mapping[str, Product]:
    found: dict[str, Product] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        product = getattr(importlib.import_module(f"{__name__}.{module_info.name}"), "PRODUCT", None)
        if product is None:
            continue
        if product.name.lower() != module_info.name:
            raise RuntimeError(f"products/{module_info.name}.py defines {product.name}")
        found[product.name] = product
    return MappingProxyType(found)


PRODUCTS: Mapping[str, Product] = _find()


def get(name: str) -> Product:
    """The product of that name.

    Raises:
        InvalidChangeError: There is none; the problem lists those there are.
    """
    product = PRODUCTS.get(name)
    if product is None:
        message = f"Unknown product {quote(name)}.{nearest(name, PRODUCTS)} Known: {', '.join(PRODUCTS)}."
        problems = (Problem(path="$.product", message=message),)
        raise InvalidChangeError("There is no such product.", problems=problems)
    return product
