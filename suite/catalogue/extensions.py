"""The door for others: models, optimizations, devices and judges from packages outside this repository.

A package names its entries in its own pyproject.toml,

    [project.entry-points."text3d_bench.models"]
    my-model = "my_package.entries:MODEL"

or somebody names them for one shell: `TEXT3D_EXTENSIONS=my_package.entries:MODEL,my_module:DEVICE`. What the name leads
to is a `Model`, an `Optimization`, a `Device` or a `Judge`, or a list of them. They run when they are named or marked,
and need no budgets. One that cannot be read is said (`problems`) and left out: it ends no session of the others.
Entry points: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

from suite.catalogue.devices import DEVICES, Device
from suite.catalogue.judges import JUDGES, Judge
from suite.catalogue.models import MODELS, Model
from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.catalogue.recipes import Optimization
from suite.names import unknown

VARIABLE = "TEXT3D_EXTENSIONS"
CATALOGUES: dict[type, tuple[str, dict]] = {
    Model: ("models", MODELS),
    Optimization: ("optimizations", OPTIMIZATIONS),
    Device: ("devices", DEVICES),
    Judge: ("judges", JUDGES),
}
# In an id (`model/optimization@device`, with `+` between composed recipes) and in a file's name.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# As a pytest mark, after -m.
MARK = re.compile(r"[a-z][a-z0-9_-]*")
RESERVED = {
    *("skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings", "tryfirst", "trylast", "benchmark"),
    *("and", "or", "not", "true", "false", "none"),
    *("smoke", "nightly", "extension", "fullsize", "reference", "slow"),
}


@dataclass
class Extensions:
    """What came in by the door: (catalogue, name) -> who brought it; and what could not come in, in words."""

    brought_by: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def has(self, entry: Model | Optimization | Device | Judge) -> bool:
        return (CATALOGUES[type(entry)][0], entry.name) in self.brought_by


class NoEntry(ValueError):
    """Says why something cannot stand in a catalogue."""


@cache
def extensions() -> Extensions:
    """Everything that packages and TEXT3D_EXTENSIONS bring, now in the catalogues. Once a process."""
    found = Extensions()
    for source, load in _offers():
        try:
            for entry in _entries(load()):
                found.brought_by[_add(entry)] = source
        except Exception as error:  # noqa: BLE001 - whatever another's module does, the session goes on
            why = str(error) if isinstance(error, NoEntry) else f"{type(error).__name__}: {error}"
            found.problems.append(f"{source}: {why}")
    return found


def find_judge(name: str) -> Judge:
    """Of the suite or of another package. UnknownName with the nearest."""
    extensions()  # fills the catalogue
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    return JUDGES[name]


def _offers() -> Iterator[tuple[str, Any]]:
    """(who offers, a function that loads it)."""
    for kind, _ in CATALOGUES.values():
        for point in sorted(metadata.entry_points(group=f"text3d_bench.{kind}")):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
            yield f"{package}, entry point {point.group}: {point.name} = {point.value}", point.load
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        yield f"{VARIABLE}: {name}", lambda name=name: _load(name)


def _load(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not module or not colon or not attribute:
        raise NoEntry(f"{name!r} is not possible; write module:NAME")
    found = importlib.import_module(module)
    if not hasattr(found, attribute):
        raise NoEntry(f"{module} has no {attribute}")
    return getattr(found, attribute)


def _entries(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _add(entry: Any) -> tuple[str, str]:
    """Put an entry into its catalogue, behind those that are there."""
    if type(entry) not in CATALOGUES:
        kinds = ", ".join(kind.__name__ for kind in CATALOGUES)
        raise NoEntry(f"expected one of {kinds}, or a list of them; got {type(entry).__name__}")
    kind, catalogue = CATALOGUES[type(entry)]
    if not NAME.fullmatch(entry.name):
        raise NoEntry(f"{kind}: the name {entry.name!r} is not possible; lower-case letters, digits, '-', '.' and '_'")
    for name, value in vars(entry).items():
        if not isinstance(value, tuple) and _is_tuple(entry, name):
            said = f"{kind}: {entry.name}: {name} is a {type(value).__name__} and no tuple"
            raise NoEntry(f"{said}; a single value needs a comma behind it: ({value!r},)")
    for mark in _marks(entry):
        if not MARK.fullmatch(mark):
            raise NoEntry(f"{kind}: {mark!r} is no mark; a lower-case letter, then letters, digits, '-' and '_'")
        if mark in RESERVED or (mark in DEVICES and not isinstance(entry, Device)):
            raise NoEntry(f"{kind}: the mark {mark!r} has a meaning already; take another name")
    if catalogue.get(entry.name) is entry:
        raise NoEntry(f"{kind}: {entry.name} is there already: this very entry is offered twice")
    if entry.name in catalogue:
        raise NoEntry(f"{kind}: {entry.name} is there already; take another name")
    catalogue[entry.name] = entry
    return kind, entry.name


def _is_tuple(entry: Any, name: str) -> bool:
    """Whether a field of an entry is declared as a tuple."""
    declared = str(type(entry).__dataclass_fields__[name].type)
    return declared.startswith("tuple") and not (getattr(entry, name) is None and "None" in declared)


def _marks(entry: Model | Optimization | Device | Judge) -> tuple[str, ...]:
    """What becomes pytest marks."""
    if isinstance(entry, Optimization):
        return tuple(technique.name for technique in entry.techniques)
    if isinstance(entry, Judge):
        return ()
    return (entry.family,) if isinstance(entry, Model) else (entry.name,)
