"""What is wrong with an expression, where, and what to do about it."""

from __future__ import annotations

from sealwire.errors import SealwireError


class ExpressionError(SealwireError):
    """An expression cannot be used.

    Attributes:
        message: What is wrong, as a sentence.
        hint: What to do, as a sentence; may be empty.
        start, end: Where, as offsets into the text of the expression.
        line, column: Where, counted from 1.
        macro: The macro in whose text it is; empty if it is in the expression itself.
    """

    code = "expression"

    def __init__(
        self, message: str, *, text: str, start: int, end: int = -1, hint: str = "", macro: str = ""
    ) -> None:
        self.message = message
        self.hint = hint
        self.start = min(start, len(text))
        self.end = max(self.start, min(end, len(text))) if end >= 0 else self.start
        self.line = text.count("\n", 0, self.start) + 1
        self.column = self.start - (text.rfind("\n", 0, self.start) + 1) + 1
        self.macro = macro
        where = f"Column {self.column}" if self.line == 1 else f"Line {self.line}, column {self.column}"
        if macro:
            where = f"Macro {macro}, {where[0].lower()}{where[1:]}"
        super().__init__(f"{where}: {message} {hint}".rstrip())


def quoted(text: str, *, at_most: int = 60) -> str:
    """A text for a message: cut, and with control characters escaped."""
    cut = text if len(text) <= at_most else text[: at_most - 1] + "…"
    return '"' + "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in cut) + '"'
