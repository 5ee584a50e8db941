"""Is this code slower than that commit? `python -m suite.confirm --base main [CONFIGURATION...]`

The working tree (or --head) and the base are run in turn on this board, each in fresh processes, until the ratio of
their latencies is known precisely enough. docs/confirming.md says how.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from suite.command_line import command
from suite.confirm.board import board_taken, planned, smoke_cells
from suite.confirm.checkouts import NoCheckout, Repository
from suite.confirm.comparing import Rules, compare, failed
from suite.confirm.options import add_rules, rules_of
from suite.confirm.processes import Side
from suite.confirm.records import Confirmation, Confirmed
from suite.confirm.telling import lines_of, live
from suite.history import ROOT, HistoryError
from suite.judging.baselines import overall
from suite.names import UnknownName
from suite.records import Verdict
from suite.saving import write_atomically
from suite.session.planning import Absent, Plan
from suite.session.run_lock import BoardBusy
from suite.worker.execution import commit

EXIT = {Verdict.REGRESSED: 1, Verdict.UNCERTAIN: 2}
EXIT_SAID = (
    "Exit status: 0 nothing regressed, 1 something did, 2 nothing did for sure, but something is uncertain or could "
    "not be compared."
)


def confirm(
    cells: Sequence[Plan | Absent],
    head: str | None,
    base: str,
    rules: Rules,
    repository: Repository,
    keep: Callable[[list[Confirmed]], None],
) -> list[Confirmed]:
    """The verdict on each cell, printed and kept as it comes. head, base: commits; head may be None, the working tree.

    keep gets all cells each time, those to come as uncertain.
    """
    results = [failed(cell.configuration.id, "not compared: the run ended before") for cell in cells]
    with contextlib.ExitStack() as checkouts:
        base_folder = checkouts.enter_context(repository.checkout(base))
        head_folder = repository.root if head is None else checkouts.enter_context(repository.checkout(head))
        sides = Side("head", head_folder), Side("base", base_folder)
        for place, cell in enumerate(cells):
            title = f"[{place + 1}/{len(cells)}]"
            with live(f"{title} {cell.configuration.id}") as progress:
                if isinstance(cell, Absent):
                    results[place] = failed(cell.configuration.id, f"{cell.status.value}: {cell.reason}")
                else:
                    results[place] = compare(cell, *sides, rules, progress)
            print(f"{title} " + "\n    ".join(lines_of(results[place])), flush=True)
            keep(results)
    return results


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m suite.confirm", description=__doc__.split("\n")[0].split("?")[0] + "?", epilog=EXIT_SAID
    )
    parser.add_argument("--base", required=True, metavar="COMMIT", help="what to compare with")
    parser.add_argument("--head", metavar="COMMIT", help="what is compared (default: the working tree as it is)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument(
        "configurations", nargs="*", metavar="CONFIGURATION", help="default: this machine's smoke cells"
    )
    add_rules(parser, memory="judge peak memory too")
    options = parser.parse_args(argv)
    rules, repository = rules_of(options), Repository(ROOT)
    try:
        if options.json is not None and not options.json.absolute().parent.is_dir():
            raise NotADirectoryError(f"--json: {options.json.parent} is no folder")
        names = list(dict.fromkeys(options.configurations)) or [cell.id for cell in smoke_cells()]
        cells = [planned(name, options.weights) for name in names]
        waiting = partial(print, file=sys.stderr)
        with board_taken(options.lock_patience, waiting) as board:
            whole = Confirmation(
                head=options.head or f"working tree at {commit()}",
                base=options.base,
                board=board,
                precision=rules.precision,
                time_limit_s=rules.time_limit_s,
                verdict=Verdict.UNCERTAIN,
                configurations=[],
            )

            def keep(results: list[Confirmed]) -> None:
                if options.json is not None:
                    known = {"configurations": results, "verdict": overall(one.verdict for one in results)}
                    write_atomically(options.json, whole.model_copy(update=known).model_dump_json(indent=1) + "\n")

            try:
                base = repository.commit(options.base)
                head = None if options.head is None else repository.commit(options.head)
                print(f"base: {repository.line(base)}")
                print(f"head: {whole.head if head is None else repository.line(head)}", flush=True)
                whole = whole.model_copy(update={"base": base, "head": head or whole.head})
                results = confirm(cells, head, base, rules, repository, keep)
            except NoCheckout as error:
                print(f"python -m suite.confirm: {error}", file=sys.stderr)
                results = [failed(name, str(error)) for name in names]
                keep(results)
    except BrokenPipeError:
        raise
    except (UnknownName, BoardBusy, HistoryError, OSError) as error:
        print(f"python -m suite.confirm: {error}", file=sys.stderr)
        return 2
    verdict = overall(one.verdict for one in results)
    print(f"{verdict.value}: {len(results)} configuration" + "s" * (len(results) != 1))
    return EXIT.get(verdict, 0)


if __name__ == "__main__":
    sys.exit(main())
