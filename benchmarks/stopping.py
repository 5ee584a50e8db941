"""What `--quality-prompts auto` saves, and how often it is wrong, by resampling the outcomes of the committed history.

    python -m benchmarks.stopping --worlds 200

A recipe and its reference were scored on the same 153 prompts. A world draws 1,024 prompts from these pairs with
replacement, so the truth of each world's recipe is what the 153 say. All 1,024 are scored and judged by a fixed
interval (Newcombe 1998), or scored part by part until the watched interval decides. Also the hardest case: a recipe
that is worse by just the margin.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suite.catalogue.optimizations import REFERENCE
from suite.command_line import command
from suite.history import COMMITTED, committed_outcomes, read_folder
from suite.judging import anytime
from suite.judging.intervals import CONFIDENCE
from suite.judging.paired_quality import difference, hit_pairs
from suite.judging.stopping import MARGIN
from suite.metrics.sharing import CHUNK

PROMPTS = 1024
HARDEST = (0.0, 0.01, 0.05)  # shares of prompts won, beside a share lost that is larger by the margin


@dataclass
class Found:
    """Of one recipe over all worlds."""

    name: str
    moved: tuple[float, float]  # shares of prompts won and lost
    prompts: list[int]  # until it stopped
    verdicts: list[str]
    fixed: list[str]  # of all prompts

    @property
    def truth(self) -> float:
        return self.moved[0] - self.moved[1]

    @property
    def wrong(self) -> float:
        """Share of worlds with a verdict that the truth forbids."""
        return float(np.mean([v == ("inferior" if self.truth >= -MARGIN else "non-inferior") for v in self.verdicts]))

    @property
    def alike(self) -> float:
        """Share of the worlds in which both, or neither, came to that verdict."""
        return float(np.mean([a == b for a, b in zip(self.verdicts, self.fixed, strict=True)]))


def tried(name: str, moved: tuple[float, float], worlds: int, generator: np.random.Generator) -> Found:
    won, lost = moved
    found = Found(name, moved, [], [], [])
    for _ in range(worlds):
        drawn = generator.choice([1, -1, 0], PROMPTS, p=[won, lost, 1 - won - lost])
        stopped, verdict = watched(drawn)
        found.prompts.append(stopped)
        found.verdicts.append(verdict)
        found.fixed.append(once(drawn))
    return found


def watched(drawn: np.ndarray) -> tuple[int, str]:
    """Prompts until it is decided, and how."""
    wins, losses = (drawn > 0).cumsum(), (drawn < 0).cumsum()
    for n in range(CHUNK, PROMPTS + 1, CHUNK):
        w, lo = int(wins[n - 1]), int(losses[n - 1])
        wealth = anytime.log_wealth((lo, n - w - lo, w), (0.0, 0.5, 1.0), (1 - MARGIN) / 2)
        if wealth >= anytime.RICH:
            return n, "inferior" if w - lo < -MARGIN * n else "non-inferior"
    return PROMPTS, "open"


def once(drawn: np.ndarray) -> str:
    """The verdict of a fixed interval over all prompts. Ties are counted as hits of both."""
    won, lost = int((drawn > 0).sum()), int((drawn < 0).sum())
    pairs = won * [(True, False)] + lost * [(False, True)] + (PROMPTS - won - lost) * [(True, True)]
    change = difference(pairs)
    return "inferior" if change.high < -MARGIN else "non-inferior" if change.low > -MARGIN else "open"


def recorded() -> dict[str, tuple[float, float]]:
    """Shares won and lost of each recipe with committed outcomes, beside its reference's."""
    known = committed_outcomes(read_folder(COMMITTED).measurements)
    shares = {}
    for (recipe, weights), here in known.items():
        model, _, optimization = recipe.partition("/")
        there = known.get((f"{model}/{REFERENCE}", weights))
        if optimization == REFERENCE or there is None or there.gallery_sha256 != here.gallery_sha256:
            continue
        pairs = hit_pairs(here.quality, there.quality)
        won, lost = (sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
        if pairs:
            shares[recipe] = (won / len(pairs), lost / len(pairs))
    return shares


def line(found: Found) -> str:
    shares = " | ".join(f"{np.mean([v == kind for v in found.verdicts]):.0%}" for kind in ("non-inferior", "inferior"))
    return (
        f"| {found.name} | {100 * found.moved[0]:.1f} / {100 * found.moved[1]:.1f} % | {np.median(found.prompts):.0f} "
        f"({np.mean(found.prompts):.0f}) | {shares} | {found.wrong:.1%} | {found.alike:.0%} |"
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200, help="of each recipe (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    generator = np.random.default_rng(options.seed)
    print(
        f"| recipe | won / lost | prompts until it stopped: median (mean) of {PROMPTS} | non-inferior | inferior "
        "| wrong | as a fixed interval says |"
    )
    print("|---|---|---|---|---|---|---|")
    of_history = [tried(name, moved, options.worlds, generator) for name, moved in sorted(recorded().items())]
    for found in of_history:
        print(line(found), flush=True)
    spent = float(np.mean([np.mean(found.prompts) for found in of_history]))
    wrong = float(np.mean([found.wrong for found in of_history]))
    alike = float(np.mean([found.alike for found in of_history]))
    print(
        f"\n{len(of_history)} recipes: {PROMPTS / spent:.2f} times fewer prompts; wrong {wrong:.2%} of verdicts "
        f"(at most {1 - CONFIDENCE:.0%} stated); the verdict of all prompts in {alike:.1%}"
    )
    for won in HARDEST:
        found = tried("worse by the margin", (won, won + MARGIN), 5 * options.worlds, generator)
        told = np.mean([v != "open" for v in found.verdicts])
        print(
            f"worse by just {MARGIN:.0%}, {won:.0%} of prompts won: any verdict in {told:.1%} of {5 * options.worlds}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
