"""Loaded late."""


def greet(name: str) -> str:
    said = f"hello {name}"
    return said  # noqa: RET504 - here: said is known
