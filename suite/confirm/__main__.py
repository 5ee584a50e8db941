"""Is this code slower than that commit? `python -m suite.confirm --base main [CONFIGURATION...]`

The working tree (or --head) and the base are run in turn on this board, each in fresh processes, until the ratio of
their latencies is known precisely enough. docs/confirming.md says how.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.command_line import command
from suite.confirm.board import board_taken, planned, smoke_cells
from suite.confirm.checkouts import NoCheckout, Repository
from suite.confirm.comparing import Rules, compare, failed
from suite.confirm.options import add_rules, rules_of
from suite.confirm.processes import Side
from suite.confirm.records import WORKING_TREE, Confirmation, Confirmed
from suite.confirm.telling import lines_of, live
from suite.history import ROOT, HistoryError, write_atomically
from suite.judging.baselines import overall
from suite.names import UnknownName
from suite.records import Verdict
from suite.session.planning import Absent, Plan
from suite.session.run_lock import BoardBusy

EXIT = {Verdict.REGRESSED: 1, Verdict.UNCERTAIN: 2}
EXIT_SAID = (
    "Exit status: 0 nothing regressed, 1 something did, 2 nothing did for sure, but something is uncertain or could "
    "not be compared."
)


def confirm(
    cells: Sequence[Plan | Absent], head: str | None, base: str, rules: Rules, repository: Repository
) -> list[Confirmed]:
    """The verdict on each cell, printed as it comes. head: a commit, or None for the working tree."""
    with contextlib.ExitStack() as checkouts:
        try:
            commits = [repository.commit(name) for name in (base, head) if name is not None]
            print(f"base: {repository.line(commits[0])}")
            print(f"head: {WORKING_TREE if head is None else repository.line(commits[1])}")
            folders = [checkouts.enter_context(repository.checkout(commit)) for commit in commits]
        except NoCheckout as error:
            print(f"python -m suite.confirm: {error}", file=sys.stderr)
            return [failed(cell.configuration.id, str(error)) for cell in cells]
        sides = Side("head", repository.root if head is None else folders[1]), Side("base", folders[0])
        results = []
        for number, cell in enumerate(cells, 1):
            with live(f"[{number}/{len(cells)}] {cell.configuration.id}") as progress:
                absent = isinstance(cell, Absent)
                found = (
                    failed(cell.configuration.id, f"{cell.status.value}: {cell.reason}")
                    if absent
                    else compare(cell, *sides, rules, progress)
                )
            print(f"[{number}/{len(cells)}] " + "\n    ".join(lines_of(found)), flush=True)
            results.append(found)
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
        names = list(dict.fromkeys(options.configurations)) or [cell.id for cell in smoke_cells()]
        cells = [planned(name, options.weights) for name in names]
        with board_taken(options.lock_patience, lambda line: print(line, file=sys.stderr)) as board:
            results = confirm(cells, options.head, options.base, rules, repository)
        verdict = overall(results)
        if options.json is not None:
            whole = Confirmation(
                head=options.head or WORKING_TREE,
                base=options.base,
                board=board,
                precision=rules.precision,
                time_limit_s=rules.time_limit_s,
                verdict=verdict,
                configurations=results,
            )
            write_atomically(options.json, whole.model_dump_json(indent=1) + "\n")
    except BrokenPipeError:
        raise
    except (UnknownName, BoardBusy, HistoryError, OSError) as error:
        print(f"python -m suite.confirm: {error}", file=sys.stderr)
        return 2
    print(f"{verdict.value}: {len(results)} configurations")
    return EXIT.get(verdict, 0)


if __name__ == "__main__":
    sys.exit(main())
