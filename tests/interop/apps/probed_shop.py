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


class Line:
    def __init__(self, sku: str, price: float) -> None:
        self.sku = sku
        self.price = price


class Sold:
    def __init__(self) -> None:
        self.id = 7
        self.total = 12.5
        self.lines = [Line("a-1", 2.5), Line("b-2", 10)]
        self.note = None


def all_sorts() -> int:
    """Variables of every kind, for expressions to read."""
    n, f, b, none = 2, 1.5, True, None
    s, empty = "hello wörld", ""
    l, words, none_yet = [1, 2, 3], ["ab", "b", ""], []  # noqa: E741 - as in the other judges
    d = {"k": 1, "z": None, "w": "text"}
    order = Sold()
    rows = [{"p": 1}, {"p": 20}]
    known = (n, f, b, none, s, empty, l, words, none_yet, d, order, rows)
    return len(known)  # here: all sorts are known
