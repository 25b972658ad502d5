"""The table of attacks, made from what the tests say of themselves: ``python -m tests.attacks.table``.

The docstring of each test module is one row: what the attack is, what stops it, what is left open.
"""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "security" / "attacks.md"
STOPS, OPEN = "Stops it: ", "Left open: "

HEAD = """\
# Attacks, and what stops them

Each row is a file of `tests/attacks/`. An agent as it is shipped, an application behind it and a control
plane that turns hostile are set up, and for every attack that can be refused it is shown that

1. it is refused, for the right reason;
2. the last good state is kept in memory and on disk, and a restart serves it;
3. applications are told the same as before, byte for byte;
4. the reason reaches the control plane with the next request: `tuf: <code>: <repository, role, versions>`;
5. once the control plane is honest again, the next change arrives.

What cannot be refused is there as well, so that the limit is seen. Not in the table, because nothing on the
agent's side can stop it: a process on the host that takes the agent's place. Unmodified tracers believe
whoever answers on the agent's port (`SECURITY.md`).

This page is written by `python -m tests.attacks.table`; change the docstring of a test instead.

| attack | what stops it | left open | test |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_row(path) for path in sorted(HERE.glob("test_*.py")) if path.stem != "test_table")


def _row(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    attack, _, rest = text.partition("\n\n")
    stops, _, left_open = " ".join(rest.split()).partition(OPEN)
    if not attack or not stops.startswith(STOPS):
        raise ValueError(f"{path.name} does not say what its attack is and what stops it")
    name, _, what = " ".join(attack.split()).partition(": ")
    cells = [
        f"**{name}**: {what}",
        stops.removeprefix(STOPS).strip(),
        left_open.strip() or "–",
        f"[{path.stem.removeprefix('test_')}](../../tests/attacks/{path.name})",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
