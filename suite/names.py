"""Names: of things in catalogues, unknown ones answered with the nearest known, and of functions."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable


class UnknownName(ValueError):
    pass


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not in a catalogue."""
    known, shown = sorted(known), shortened(name)
    near = difflib.get_close_matches(shown, known, n=3, cutoff=0.4)
    return UnknownName(
        f"unknown {kind} {shown!r}; " + (f"nearest: {', '.join(near)}" if near else f"known: {listed(known)}")
    )


def shortened(text: str, length: int = 80) -> str:
    """The beginning of a text that may be any, for an error that is read."""
    return text if len(text) <= length else f"{text[:length]}…"


def listed(names: Iterable[str], length: int = 250) -> str:
    """Names, as many as a person reads."""
    names, said = list(names), ""
    for count, name in enumerate(names):
        longer = f"{said}, {name}" if said else name
        if len(longer) > length and said:
            return f"{said} and {len(names) - count} more"
        said = longer
    return said


def resolve(name: str) -> Callable:
    """The function that "module:function" names. Its module is imported only now."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)
