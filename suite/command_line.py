"""What every `python -m` of the project does alike: closed pipes, odd terminals, Ctrl-C, numbers with their unit."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import wraps

Main = Callable[..., int]  # of argv, or of nothing


def command(main: Main) -> Main:
    """A `main(argv)` that ends quietly when its reader has seen enough (`| head`), and prints on any terminal.

    Whoever catches OSError inside lets BrokenPipeError pass.
    """

    @wraps(main)
    def run(argv: list[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a terminal without "★" or "–" is no reason to fail
        try:
            status = main(argv)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


def percent(text: str) -> float:
    """An argument's type: per cent, from 0 to 100, as a fraction."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected per cent from 0 to 100, such as 90, got {text!r}")
    return value / 100


def positive(unit: str) -> Callable[[str], float]:
    """An argument's type: a number above 0, without its unit."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a number of {unit} above 0, such as 2.5, got {text!r}")
        return value

    return read
