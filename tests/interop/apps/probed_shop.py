"""What probes are put into. Lines are found by their text, so that they may move."""

from __future__ import annotations

PRICES = {"wax": 9.5, "ring": 49.0, "pigeon": 129.0}


class Order:
    def __init__(self, sku: str, count: int) -> None:
        self.sku = sku
        self.count = count
        self.password = "do not tell"
        self.lines = [{"sku": sku, "price": PRICES.get(sku, 1.0)} for _ in range(count)]

    def total(self) -> float:
        whole = sum(line["price"] for line in self.lines)
        return whole  # noqa: RET504 - here: whole is known


def sell(sku: str, count: int) -> float:
    order = Order(sku, count)
    total = order.total()
    note = f"sold {count} of {sku}"
    return total if note else 0.0  # here: order, total and note are known


def quick(number: int) -> int:
    doubled = number * 2
    return doubled + 1  # here: doubled is known
