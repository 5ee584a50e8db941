"""Do stated 95 % hold, and how long does a frontier of many rows take? `python -m benchmarks.ranking [WORLDS]`.

Each world has rows whose truth is known: the share that each would hit of all prompts there are, its latency and its
peak memory. From it sessions are drawn as they are measured: some prompts, the same for all rows, easy and hard ones;
some rounds of each row, in a process that is a little slow or fast, in a session that is so for all its rows. What
`leaderboards.ranking` says of what was drawn is held against the truth.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import moocore
import numpy as np

from leaderboards import ranking
from leaderboards.dominance import Candidate
from leaderboards.frontier import frontier
from leaderboards.ranking import PROCESS_SD, Sampled
from suite.judging.intervals import proportion
from suite.records import Interval, PromptOutcome, Quality

ROWS, PROMPTS, SESSIONS, DRIFT, DRAWS = 12, 153, 3, 0.1, 500


@dataclass(frozen=True)
class World:
    shares: np.ndarray  # [rows], of all prompts there are
    seconds: np.ndarray
    memory: np.ndarray
    rows: list[Sampled]


def world(generator: np.random.Generator, spread: float) -> World:
    """spread: of the rows' ability, in logits; 0.3 makes most of them ties, 1.5 few."""
    ability, difficulty = generator.normal(1.5, spread, ROWS), generator.normal(0, 1, PROMPTS)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    shares = _logistic(ability[:, None] - nodes) @ (weights / weights.sum())
    hits = generator.random((ROWS, PROMPTS)) < _logistic(ability[:, None] - difficulty)
    seconds, memory = (np.exp(generator.normal(middle, 0.3, ROWS)) for middle in (-1.0, 18.0))
    session = generator.integers(SESSIONS, size=ROWS)
    slow = generator.normal(0, DRIFT, SESSIONS)[session] + generator.normal(0, PROCESS_SD, ROWS)
    rows = [
        Sampled(
            samples_s=seconds[n] * np.exp(slow[n] + generator.normal(0, 0.05, int(generator.integers(5, 20)))),
            session=str(session[n]),
            peak_memory_bytes=memory[n],
            hits=hits[n],
        )
        for n in range(ROWS)
    ]
    return World(shares, seconds, memory, rows)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def coverage(worlds: int, spread: float, seed: int = 1) -> dict[str, float]:
    """How often each stated 95 % interval holds the truth; and of rows whose chance of the frontier is said to be
    between 20 and 80 %, that chance on average, and how many of them are on it."""
    held: dict[str, list] = {"share": [], "difference": [], "latency": [], "rank": [], "said": [], "is": []}
    for number in range(worlds):
        made = world(np.random.default_rng([seed, number]), spread)
        generator = np.random.default_rng([seed, number, 1])
        shares = ranking.draw_shares(np.array([row.hits for row in made.rows]), DRAWS, generator)
        seconds = ranking.draw_latencies(
            [r.samples_s for r in made.rows], [r.session for r in made.rows], DRIFT, DRAWS, generator
        )
        held["share"] += _within(shares, made.shares)
        held["difference"] += _within(shares[:, 1:] - shares[:, :-1], made.shares[1:] - made.shares[:-1])
        held["latency"] += _within(seconds, made.seconds)
        places = ranking.places(made.rows, DRIFT, DRAWS, seed=number)
        truth = ranking.ranks(made.shares[None])[0]
        held["rank"] += [place.rank_low <= rank <= place.rank_high for place, rank in zip(places, truth)]
        on = moocore.is_nondominated(np.column_stack([made.seconds, ranking.snapped(made.memory), -made.shares]))
        unsure = [n for n, place in enumerate(places) if 0.2 < place.frontier_probability < 0.8]
        held["said"] += [places[n].frontier_probability for n in unsure]
        held["is"] += [on[n] for n in unsure]
    return {name: float(np.mean(found)) for name, found in held.items()}


def _within(drawn: np.ndarray, truth: np.ndarray) -> list[bool]:
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return list((low <= truth) & (truth <= high))


def many(count: int, seed: int = 1) -> list[Candidate]:
    """Candidates with outcomes, better where they cost more; most are beaten."""
    generator = np.random.default_rng(seed)
    made = []
    known = {
        (n, hit): PromptOutcome(prompt=f"prompt {n}", rank_153=0 if hit else 1, margin_153=0.0)
        for n in range(PROMPTS)
        for hit in (True, False)
    }
    for _ in range(count):
        effort = generator.random()
        hits = generator.random(PROMPTS) < 0.2 + 0.7 * effort * generator.random()
        seconds = float(np.exp(generator.normal(3 * effort, 0.5)))
        outcomes = [known[n, bool(hit)] for n, hit in enumerate(hits)]
        share = proportion(int(hits.sum()), PROMPTS)
        made.append(
            Candidate(
                latency=Interval(value=seconds, low=0.98 * seconds, high=1.02 * seconds),
                peak_memory_bytes=int(1e8 * np.exp(generator.normal(effort, 0.5))),
                r_precision=share,
                quality=Quality.model_construct(judge="judge", outcomes=outcomes, r_precision=share),
            )
        )
    return made


def main() -> None:
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for spread in (0.3, 0.8, 1.5):
        found = coverage(worlds, spread)
        print(f"{worlds} worlds, spread {spread}: " + ", ".join(f"{name} {100 * v:.1f} %" for name, v in found.items()))
    for count in (500, 1000, 5000):
        candidates = many(count)
        took = []
        for _ in range(5):
            start = time.perf_counter()
            marks = frontier(candidates)
            took.append(time.perf_counter() - start)
        print(f"frontier of {count} rows: {min(took):.3f} to {max(took):.3f} s, {sum(marks)} on it")


if __name__ == "__main__":
    main()
