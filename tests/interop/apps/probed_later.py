"""Loaded late."""


def greet(name: str) -> str:
    said = f"hello {name}"
    return said  # here: said is known
