"""What the processes share that score one cell together. Without torch.

The parent numbers the parts of the work and puts the numbers into a pipe, from which each process takes the next when
it is ready. So a process that comes late, or dies, delays nobody: what nobody answered for is made by the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

CHUNK = 8  # prompts of a part
_NUMBER_BYTES = 2  # written and read as a whole: pipe(7) keeps so few bytes together


def parts_of(prompts: int) -> list[range]:
    """The prompts of each part, by their positions."""
    return [range(start, min(start + CHUNK, prompts)) for start in range(0, prompts, CHUNK)]


def fill(writer: Connection, numbers: range) -> None:
    """Put all numbers into the pipe, 32,768 at most (its capacity), and close this end."""
    os.write(writer.fileno(), b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in numbers))
    writer.close()


def taken(reader: Connection) -> Iterator[int]:
    """Number after number, each given to one process only, until there are none."""
    while number := os.read(reader.fileno(), _NUMBER_BYTES):
        yield int.from_bytes(number, "big")


@dataclass(frozen=True)
class Lead:
    """The first process's ends."""

    numbers: Connection
    helpers: tuple[Connection, ...] = ()  # of each that may be started: the answers, as (number, answer)

    def take(self) -> Iterator[int]:
        yield from taken(self.numbers)

    def answers(self, patience_s: float | None = 0.0) -> dict[int, Any]:
        """What helpers have answered by now; with None, all that they will answer before the last one ends."""
        found: dict[int, Any] = {}
        open_ends = [end for end in self.helpers if not end.closed]
        while open_ends and (ready := wait(open_ends, patience_s)):
            for end in ready:
                try:
                    number, answer = end.recv()
                    found[number] = answer
                except (EOFError, OSError):
                    end.close()
                    open_ends.remove(end)
        return found


@dataclass(frozen=True)
class Helper:
    """The ends of a process that helps."""

    numbers: Connection
    answers: Connection
