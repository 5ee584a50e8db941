"""Names: of things in catalogues, unknown ones answered with the nearest known, and of functions."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable


class UnknownName(ValueError):
    pass


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not in a catalogue."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return UnknownName(
        f"unknown {kind} {name!r}; " + (f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}")
    )


def resolve(name: str) -> Callable:
    """The function that "module:function" names. Its module is imported only now."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)
