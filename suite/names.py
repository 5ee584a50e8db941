"""Unknown names, answered with the nearest known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnknownName(ValueError):
    pass


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not in a catalogue."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return UnknownName(
        f"unknown {kind} {name!r}; " + (f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}")
    )
