"""Propose budgets from measurements: `python -m suite.budgets propose --device cpu FILE...`

Each FILE is a session of its own (a pytest-benchmark file or a journal folder). Three sessions at least, since the true
noise is that between fresh processes: latency × 1.5, or the slowest session × 1.25 where that is more, memory × 1.15,
quality's lower 99 % bound (one of them must have scored all prompts; the others may be smoke runs, whose time and
memory are measured in the same way). The three are of one board under one fingerprint. A limit of `cpu` is held on any
processor, so there the sessions of other boards count too, where one of them is the slowest or the largest, and memory
has 32 MB of room at least, for another installation's code. What was never measured is written as unset, with the
reason, in one line an entry; entries without a new measurement stay as they are; nothing is invented. Recipes that run
only by name have entries where three sessions measured them.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from suite.budgets.rules import entry, merged
from suite.budgets.text import lines_of
from suite.catalogue.devices import DEVICES, find_device
from suite.catalogue.extensions import extensions
from suite.command_line import command
from suite.configurations import Configuration, find, matrix
from suite.history import HistoryError, read_folder, read_session
from suite.judging.budgets import FOLDER, load_budgets
from suite.names import UnknownName
from suite.saving import write_atomically

OURS = [name for name, device in DEVICES.items() if not extensions().has(device)]

HEADER = """\
# Budgets of the configurations on {title}; written by `python -m suite.budgets propose --device {name}`.
# A limit is a measured level plus a margin: latency × 1.5 (or the slowest session × 1.25), memory × 1.15 \
(of any processor 32 MB more at least), quality's lower 99 % bound.
"""


def propose(device: str, sessions: list[Path]) -> str:
    """The whole file for a device."""
    by_configuration = defaultdict(list)
    for path in sessions:
        history = read_folder(path) if path.is_dir() else read_session(path)
        for line in history.problems:
            print(line, file=sys.stderr)
        for m in history.measurements:
            by_configuration[m.configuration].append(m)
    path = FOLDER / f"{device}.toml"
    written = load_budgets(path) if path.exists() else {}
    cells = [c for c in matrix() if c.device.name == device and not c.is_extension]
    text = HEADER.format(title=DEVICES[device].title, name=device)
    for model, of_model in groupby(cells, key=lambda c: c.model.name):
        text += "\n"
        for c in [*of_model, *_by_name(model, device, [*written, *by_configuration])]:
            budgets = merged(entry(c, by_configuration[c.id]), written.get(c.recipe, ()))
            if c.in_matrix or any(budget.limit is not None for budget in budgets):
                text += "".join(f"{line}\n" for line in lines_of(c.recipe, budgets))
    return text


def _by_name(model: str, device: str, names: Iterable[str]) -> list[Configuration]:
    """Of recipes and configurations, those of a model that run on this device only when they are named."""
    recipes = sorted({name.partition("@")[0] for name in names if name.partition("@")[2] in ("", device)})
    found = []
    for recipe in recipes:
        if recipe.partition("/")[0] == model:
            with suppress(UnknownName):  # a recipe that has left the catalogues
                found.append(find(f"{recipe}@{device}"))
    return [c for c in found if not (c.in_matrix or c.is_extension)]


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.budgets", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("propose", help="write suite/budgets/<device>.toml from measured sessions")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--device", help=", ".join(OURS))
    which.add_argument(
        "--all", action="store_true", help="every device's file: a new entry is written as unset in each"
    )
    command.add_argument("--print", action="store_true", help="print instead of writing the file")
    command.add_argument("sessions", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        if options.device is not None and extensions().has(find_device(options.device)):
            raise ValueError(f"{options.device} is from another package; budgets are kept of {', '.join(OURS)}")
        # All are made before one is written: a session that cannot be read leaves every file as it is.
        texts = {name: propose(name, options.sessions) for name in (OURS if options.all else [options.device])}
    except BrokenPipeError:
        raise
    except (UnknownName, HistoryError, OSError, ValueError) as error:
        print(f"python -m suite.budgets: {error}", file=sys.stderr)
        return 2
    for name, text in texts.items():
        if options.print:
            print(text, end="")
        else:
            write_atomically(FOLDER / f"{name}.toml", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
