"""Which commit made a configuration worse? `python -m suite.bisect GOOD BAD CONFIGURATION`

Each commit halfway (first parents only) is compared with GOOD as `python -m suite.confirm` does it, on this board. A
commit that cannot be run is skipped, as with `git bisect skip`. docs/confirming.md says how.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from suite.bisect.search import Search, is_worse, precision_for, steps_at_most
from suite.command_line import command
from suite.confirm.board import board_taken, planned
from suite.confirm.checkouts import NoCheckout, Repository
from suite.confirm.comparing import Rules, compare, failed
from suite.confirm.options import add_rules, rules_of
from suite.confirm.processes import Side
from suite.confirm.records import Confirmed
from suite.confirm.telling import live, said
from suite.history import ROOT, HistoryError
from suite.names import UnknownName
from suite.records import Interval, Verdict
from suite.session.planning import Absent, Plan
from suite.session.run_lock import BoardBusy

EXIT_SAID = (
    "Exit status: 0 found, 2 not found: BAD is not worse than GOOD for sure, commits remain that cannot be told, or "
    "something is missing."
)


class NotFound(RuntimeError):
    """Why no commit can be named."""


def commits_between(repository: Repository, good: str, bad: str) -> list[str]:
    """GOOD, and the commits from it to BAD along first parents, oldest first. NoCheckout, NotFound."""
    first, last = repository.commit(good), repository.commit(bad)
    later = repository.git("rev-list", "--first-parent", "--reverse", f"{first}..{last}").split()
    if first == last or not later or repository.git("merge-base", first, last) != first:
        raise NotFound(f"{good} is no ancestor of {bad}: there is nothing between them")
    return [first, *later]


class Bisection:
    """Of one configuration. quantity: of `suite.confirm.records.Compared`."""

    def __init__(self, repository: Repository, plan: Plan, rules: Rules, commits: list[str], good: Side):
        self.repository, self.plan, self.rules, self.commits, self.good = repository, plan, rules, commits, good
        self.quantity = "peak_memory_bytes" if rules.memory else "latency_s"

    def _try(self, position: int, rules: Rules, title: str) -> tuple[Confirmed, Interval | None]:
        """A commit against GOOD: all that was found, and the ratio in question (None where it could not be run)."""
        commit = self.commits[position]
        try:
            with self.repository.checkout(commit) as folder, live(title) as progress:
                found = compare(self.plan, Side("head", folder), self.good, rules, progress)
        except NoCheckout as error:
            found = failed(self.plan.configuration.id, str(error))
        return found, next((one.ratio for one in found.compared if one.quantity == self.quantity), None)

    def run(self) -> None:
        """Print each step, and at the end the commit. NotFound."""
        last = len(self.commits) - 1
        found, whole = self._try(last, self.rules, "BAD against GOOD")
        self._say("BAD", last, found, whole, found.verdict.value)
        if found.reason is not None:
            raise NotFound(f"BAD cannot be compared: {found.reason}")
        if _verdict_of(found, self.quantity) != Verdict.REGRESSED:
            raise NotFound(f"BAD is not worse than GOOD for sure: {_verdict_of(found, self.quantity).value}")
        rules = replace(self.rules, precision=precision_for(whole.value, self.rules.precision))
        search, ratios = Search(last), {last: whole}
        while (position := search.next()) is not None:
            left = f"{len(search.suspects)} commits left, about {steps_at_most(len(search.suspects))} to try"
            found, ratio = self._try(position, rules, left)
            worse = None if found.reason is not None else is_worse(ratio, whole.value)
            word = {True: "worse", False: "not worse", None: "skipped"}[worse]
            self._say(left, position, found, ratio, word)
            search.tell(position, worse)
            ratios[position] = ratio
        suspects = search.suspects
        if len(suspects) > 1:
            for suspect in suspects:
                print(f"  {self.repository.line(self.commits[suspect])}")
            raise NotFound(f"one of these {len(suspects)} commits made it worse; the others could not be told")
        print(f"{self.repository.line(self.commits[search.bad])}")
        before = "GOOD" if search.good == 0 else said(ratios[search.good])
        print(f"made it worse: {said(ratios[search.bad])} of GOOD; the commit before it: {before}")

    def _say(self, title: str, position: int, found: Confirmed, ratio: Interval | None, word: str) -> None:
        why = "" if ratio is None else f", {said(ratio)}"
        why += f", {found.elapsed_s:.0f} s" if found.reason is None else f": {found.reason}"
        print(f"[{title}] {self.repository.line(self.commits[position])}: {word}{why}", flush=True)


def _verdict_of(found: Confirmed, quantity: str) -> Verdict:
    return next((one.verdict for one in found.compared if one.quantity == quantity), Verdict.UNCERTAIN)


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m suite.bisect", description="Which commit made a configuration worse?", epilog=EXIT_SAID
    )
    parser.add_argument("good", metavar="GOOD", help="an earlier commit")
    parser.add_argument("bad", metavar="BAD", help="a later one, where it is worse")
    parser.add_argument("configuration", metavar="CONFIGURATION")
    add_rules(parser, memory="bisect by peak memory instead of latency")
    options = parser.parse_args(argv)
    rules, repository = rules_of(options), Repository(ROOT)
    try:
        plan = planned(options.configuration, options.weights)
        if isinstance(plan, Absent):
            raise NotFound(f"{options.configuration}: {plan.status.value}: {plan.reason}")
        commits = commits_between(repository, options.good, options.bad)
        with (
            board_taken(options.lock_patience, lambda line: print(line, file=sys.stderr)),
            repository.checkout(commits[0]) as folder,
        ):
            print(f"GOOD: {repository.line(commits[0])}", flush=True)
            Bisection(repository, plan, rules, commits, Side("base", folder)).run()
    except BrokenPipeError:
        raise
    except (UnknownName, NotFound, NoCheckout, BoardBusy, HistoryError, OSError) as error:
        print(f"python -m suite.bisect: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
