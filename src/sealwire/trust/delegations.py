"""Which delegated roles may speak for a path, and in what order they are asked.

A repository that splits its products into bins has hundreds of delegations, and every targeted path is
looked up in them. Patterns are therefore filed once, by shape: for each position in the path, whether the
pattern asks for a literal, for a beginning, or for nothing. A look-up then costs one dictionary access per
shape instead of one match per pattern. A wildcard never crosses a slash.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Final

from tuf.api.metadata import DelegatedRole, Targets  # type: ignore[attr-defined] # the library's documented import

_Shape = tuple[int | None, ...]  # per segment: -1 the whole segment, n its first n characters, None anything
_WHOLE: Final = -1


class DelegationIndex:
    """The delegations of one role, ready to be asked about many paths."""

    __slots__ = ("_hashed", "_odd", "_roles", "_shapes", "_targets")

    def __init__(self, targets: Targets) -> None:
        delegations = targets.delegations
        self._targets = targets
        self._hashed = delegations is not None and delegations.roles is None
        self._roles: list[DelegatedRole] = list((delegations.roles or {}).values()) if delegations else []
        self._shapes: dict[_Shape, dict[tuple[str, ...], list[int]]] = {}
        self._odd: list[tuple[int, list[str] | None]] = []
        for position, role in enumerate(self._roles):
            if role.paths is None:
                self._odd.append((position, None))
            for pattern in role.paths or ():
                segments = pattern.split("/")
                shape, words = _shape_of(segments)
                if shape is None:
                    self._odd.append((position, segments))
                else:
                    self._shapes.setdefault(shape, {}).setdefault(words, []).append(position)

    def roles_for(self, path: str) -> list[tuple[str, bool]]:
        """The roles that are trusted with a path, most trusted first, and whether each ends the search."""
        if self._hashed and self._targets.delegations is not None:
            return list(self._targets.delegations.get_roles_for_target(path))
        segments = path.split("/")
        found: set[int] = set()
        for shape, filed in self._shapes.items():
            if len(shape) == len(segments):
                found.update(filed.get(_words(shape, segments), ()))
        for position, pattern in self._odd:
            if pattern is None:
                matched = self._roles[position].is_delegated_path(path)
            else:
                matched = len(pattern) == len(segments) and all(map(fnmatch.fnmatchcase, segments, pattern))
            if matched:
                found.add(position)
        return [(self._roles[position].name, self._roles[position].terminating) for position in sorted(found)]


def _shape_of(segments: Sequence[str]) -> tuple[_Shape | None, tuple[str, ...]]:
    """The shape of a pattern and the words it asks for; no shape for wildcards in other places."""
    shape: list[int | None] = []
    words: list[str] = []
    for segment in segments:
        literal = segment.removesuffix("*")
        if any(mark in literal for mark in "*?["):
            return None, ()
        if literal == segment:
            shape.append(_WHOLE)
            words.append(segment)
        elif literal:
            shape.append(len(literal))
            words.append(literal)
        else:
            shape.append(None)
    return tuple(shape), tuple(words)


def _words(shape: _Shape, segments: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        segment if size == _WHOLE else segment[:size]
        for size, segment in zip(shape, segments, strict=True)
        if size is not None
    )
