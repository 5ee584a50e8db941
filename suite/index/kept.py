"""A measurement as an index keeps it: its names, times and figures in columns, everything else in its file.

A history of some thousand nights is looked at by a few figures a record, and the lists of samples and outcomes behind
them are wanted of a few records only. A `Kept` answers as its `suite.records.Measurement` would.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow

from suite.history import HistoryError, cells_of, data_of, measurement_of
from suite.records import Fingerprint, Interval, Measurement, Status

TEXT, FLAG, WHOLE, REAL = pyarrow.string(), pyarrow.bool_(), pyarrow.int64(), pyarrow.float64()
VALUES = {  # fields of a measurement and of its parts, by the names that lead there
    **dict.fromkeys(("protocol", "configuration", "model", "optimization", "device", "board", "reason"), TEXT),
    **dict.fromkeys(("session", "measured_at", "commit", "weights", "output"), TEXT),
    **dict.fromkeys(("smoke", "simulated", "extrapolated"), FLAG),
    "canary_s": REAL,
    "memory.kind": TEXT,
    "memory.peak_memory_bytes": WHOLE,
    "energy.energy_j": REAL,
    "quality.judge": TEXT,
    "quality.prompts": WHOLE,
    "quality.hits_id": TEXT,
}
INTERVALS = ("latency.median", "reference.latency", "reference.latency_ratio", "quality.r_precision")
ENDS = ("value", "low", "high")
READ: dict[str, Callable[[str], Any]] = {"status": Status, "fingerprint": Fingerprint.model_validate_json}
PARTS = {  # by the column that is null where there is none
    "latency": "latency.median.value",
    "reference": "reference.latency.value",
    "memory": "memory.kind",
    "energy": "energy.energy_j",
    "quality": "quality.judge",
}
FIELDS = (
    *VALUES.items(),
    *((f"{interval}.{end}", REAL) for interval in INTERVALS for end in ENDS),
    *((name, TEXT) for name in READ),
    ("number", WHOLE),  # among the cells of its file
    ("digest", pyarrow.binary()),  # of its record as the file has it: records of equal digests are equal
)
_INTERVAL = {name: tuple(f"{name}.{end}" for end in ENDS) for name in INTERVALS}
_EMPTY = (None, None, None)
PLAIN = frozenset((*VALUES, *READ))


def line_of(m: Measurement, number: int, cell: dict) -> tuple:
    """A measurement in the order of FIELDS. cell: the record as its file has it."""
    memory, energy, quality = m.memory, m.energy, m.quality
    latency = _EMPTY if m.latency is None else _ends(m.latency.median)
    reference = _EMPTY if m.reference is None else _ends(m.reference.latency)
    pairs = None if m.reference is None else m.reference.latency_ratio
    share = _EMPTY if quality is None else _ends(quality.r_precision)
    return (
        *(m.protocol, m.configuration, m.model, m.optimization, m.device, m.board, m.reason),
        *(m.session, m.measured_at, m.commit, m.weights, m.output),
        *(m.smoke, m.simulated, m.extrapolated),
        m.canary_s,
        *((None, None) if memory is None else (memory.kind, memory.peak_memory_bytes)),
        None if energy is None else energy.energy_j,
        *(_EMPTY if quality is None else (quality.judge, quality.prompts, quality.hits_id)),
        *latency,
        *reference,
        *(_EMPTY if pairs is None else _ends(pairs)),
        *share,
        m.status.value,
        None if m.fingerprint is None else m.fingerprint.model_dump_json(),
        number,
        hashlib.blake2b(marshal.dumps(cell, 2), digest_size=16).digest(),  # version 2: the same for equal content
    )


def _ends(interval: Interval) -> tuple[float, float | None, float | None]:
    return interval.value, interval.low, interval.high


class Columns(dict):
    """The columns of an index as lists by their names, each made when it is first asked for."""

    def __init__(self, table: pyarrow.Table):
        super().__init__()
        self._table = table

    def __missing__(self, name: str) -> list:
        self[name] = self._read(name)
        return self[name]

    def _read(self, name: str) -> list:
        column = self._table.column(name)
        if column.type == TEXT:
            column = column.dictionary_encode()
        if not pyarrow.types.is_dictionary(column.type):
            return column.to_pylist()
        coded = column.unify_dictionaries().combine_chunks()  # equal texts, and what is read of them, are there once
        read = READ.get(name, str)
        values = [read(text) for text in coded.dictionary.to_pylist()]
        return [None if code is None else values[code] for code in coded.indices.to_pylist()]


class Table:
    """An index: its columns, and its measurements as their files have them."""

    def __init__(self, table: pyarrow.Table):
        self.columns = Columns(table)
        self._cells = lru_cache(maxsize=16)(lambda path: cells_of(data_of(path)))
        self.whole = lru_cache(maxsize=256)(self._whole)

    def _whole(self, line: int, path: Path) -> Measurement:
        """Read from its file. HistoryError where that is another one by now."""
        number = self.columns["number"][line]
        try:
            cells = self._cells(path)
            m = measurement_of(cells[number]) if number < len(cells) else None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise HistoryError(f"{path}: changed while it was looked at ({error}); try again") from error
        if m is None or any(getattr(m, name) != self.columns[name][line] for name in ("configuration", "measured_at")):
            raise HistoryError(f"{path}: changed while it was looked at; try again")
        return m


class Kept:
    """One line of a table, or a part of it such as its latency: `under` are the names that lead there, with dots."""

    __slots__ = ("_table", "_line", "_path", "_under")

    def __init__(self, table: Table, line: int, path: Path, under: str = ""):
        self._table, self._line, self._path, self._under = table, line, path, under

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        below, columns = self._under + name, self._table.columns
        if below in PLAIN:
            return columns[below][self._line]
        if below in _INTERVAL:
            value, low, high = (columns[end][self._line] for end in _INTERVAL[below])
            return None if value is None else Interval(value=value, low=low, high=high)
        if below in PARTS:
            there = columns[PARTS[below]][self._line] is not None
            return Kept(self._table, self._line, self._path, f"{below}.") if there else None
        return getattr(self.whole, name)

    @property
    def whole(self) -> Any:
        """The measurement, or that part of it."""
        found = self._table.whole(self._line, self._path)
        for name in filter(None, self._under.split(".")):
            found = getattr(found, name)
        return found

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Kept) and self._under == other._under == "":
            if self._digest == other._digest:
                return True
            if (self.configuration, self.measured_at) != (other.configuration, other.measured_at):
                return False
        return self.whole == (other.whole if isinstance(other, Kept) else other)

    __hash__ = None  # type: ignore[assignment] # as a record, which holds lists

    @property
    def _digest(self) -> bytes:
        return self._table.columns["digest"][self._line]

    def __repr__(self) -> str:
        return repr(self.whole)


class Line(Kept):
    """A whole line. Its names and times are asked for of every record of a history: a property answers in a tenth of
    the time."""

    __slots__ = ()


def _at_hand(name: str) -> property:
    return property(lambda self: self._table.columns[name][self._line])


for _name in PLAIN:
    if "." not in _name:
        setattr(Line, _name, _at_hand(_name))
