"""The frontier held against a naive oracle, written from the words at the head of `leaderboards/frontier.py` alone: it
takes raw figures, shares no code with the rule, and counts McNemar's probabilities one by one."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb

import pytest

from leaderboards.choice import answer
from leaderboards.frontier import candidate, frontier, key
from leaderboards.rows import measured_rows
from suite.records import Interval, Latency, Measurement, PublishedRow, Quality, Status
from tests.factories import measurement, quality, row

CASES = 1200


@dataclass(frozen=True)
class Figures:
    """What the oracle sees of a row; `hits` maps prompts to outcomes where they are known."""

    latency: tuple[float | None, float | None, float | None]  # median, low, high
    memory: int | None
    share: tuple[float | None, float | None, float | None]
    smoke: bool = False
    hits: dict[int, bool] | None = None
    other_reason: bool = False  # failed, simulated, extrapolated, random weights


def may_be_ranked(x: Figures) -> bool:
    if x.other_reason or x.latency[0] is None or x.memory is None or x.share[0] is None:
        return False
    surely = x.share[1] if x.share[1] is not None else x.share[0]
    return surely * 153 > 1


def p_of_mcnemar(won: int, lost: int) -> Fraction:
    """Two-sided: the chance of a split at least as rare as this one, each discordant prompt going either way."""
    n = won + lost
    return sum((Fraction(comb(n, k), 2**n) for k in range(n + 1) if comb(n, k) <= comb(n, won)), Fraction(0))


def clearly_truer(a: Figures, b: Figures) -> bool:
    both = [p for p in a.hits if p in b.hits] if a.hits is not None and b.hits is not None else []
    won = sum(1 for p in both if a.hits[p] and not b.hits[p])
    lost = sum(1 for p in both if b.hits[p] and not a.hits[p])
    if both:
        return won > lost and p_of_mcnemar(won, lost) < Fraction(5, 100)
    return a.share[1] is not None and b.share[2] is not None and a.share[1] > b.share[2]


def removes(a: Figures, b: Figures) -> bool:
    both = [p for p in a.hits if p in b.hits] if a.hits is not None and b.hits is not None else []
    won = sum(1 for p in both if a.hits[p] and not b.hits[p])
    lost = sum(1 for p in both if b.hits[p] and not a.hits[p])
    quicker = a.latency[0] * 1.05 < b.latency[0]
    if quicker and (a.latency[2] is None or b.latency[1] is None or a.latency[2] >= b.latency[1]):
        quicker = False
    smaller = a.memory * 1.02 < b.memory
    truer = clearly_truer(a, b)
    worse = lost > won if both else a.share[0] < b.share[0]
    slower = a.latency[0] > b.latency[0] * 1.05
    larger = a.memory > b.memory * 1.02
    return not (slower or larger or worse) and (quicker or smaller or truer)


def oracle(rows: list[Figures]) -> list[bool | None]:
    ranked = [n for n, x in enumerate(rows) if may_be_ranked(x)]
    if any(not rows[n].smoke for n in ranked):
        ranked = [n for n in ranked if not rows[n].smoke]
    marks: list[bool | None] = [None] * len(rows)
    for n in ranked:
        marks[n] = not any(removes(rows[m], rows[n]) for m in ranked if m != n)
    return marks


def random_figures(generator: random.Random, prompts: int | None, never_null: bool = False) -> Figures:
    """Few distinct values, so that ties and near ties are common; nulls; shares about chance; smoke runs."""
    nothing = 0.0 if never_null else 0.06
    seconds = generator.choice([0.5, 1.0, 1.0, 1.04, 1.06, 1.2, 2.0])
    noise = generator.choice([None, 0.001, 0.02, 0.2])
    latency = (seconds, *((None, None) if noise is None else (seconds * (1 - noise), seconds * (1 + noise))))
    share = generator.choice([0.0, 1 / 153, 0.02, 0.5, 0.6, 0.6, 0.9, 1.0])
    width = generator.choice([None, 0.004, 0.05, 0.2])
    shares = (share, *((None, None) if width is None else (max(0.0, share - width), min(1.0, share + width))))
    hits = None
    if prompts is not None and generator.random() < 0.8:
        rate = generator.choice([0.0, 0.3, 0.6, 0.9, 1.0])
        shift = generator.choice([0, 0, 3])  # some were scored on other prompts
        hits = {n: generator.random() < rate for n in range(shift, prompts + shift)}
    return Figures(
        latency=(None, None, None) if generator.random() < nothing else latency,
        memory=None if generator.random() < nothing else generator.choice([100, 101, 102, 103, 110, 200]) * 10**6,
        share=(None, None, None) if generator.random() < nothing else shares,
        smoke=generator.random() < generator.choice([0.0, 0.3, 1.0]),
        hits=hits,
        other_reason=generator.random() < nothing,
    )


def published(n: int, x: Figures, generator: random.Random) -> PublishedRow:
    reason = {}
    if x.other_reason:
        reason = generator.choice(
            [{"status": Status.THROTTLED}, {"simulated": True}, {"extrapolated": True}, {"weights": "random"}]
        )
    return row(
        f"point-e-nano-text/recipe-{n}@cpu",
        latency_s=x.latency[0],
        latency_low_s=x.latency[1],
        latency_high_s=x.latency[2],
        peak_memory_bytes=x.memory,
        r_precision=x.share[0],
        r_precision_low=x.share[1],
        r_precision_high=x.share[2],
        smoke=x.smoke,
        **reason,
    )


def outcomes(x: Figures) -> Quality | None:
    """Outcomes with the prompts' own numbers; their share is not the row's, since the row's figures decide it."""
    if x.hits is None:
        return None
    made = quality([n for n, hit in x.hits.items() if hit], prompts=max(x.hits) + 1)
    return made.model_copy(update={"outcomes": [o for n, o in enumerate(made.outcomes) if n in x.hits]})


def marks_of(rows: list[Figures], generator: random.Random) -> list[bool | None]:
    return frontier([candidate(published(n, x, generator), outcomes(x)) for n, x in enumerate(rows)])


def random_group(generator: random.Random) -> list[Figures]:
    prompts = generator.choice([None, None, 8, 20])
    return [random_figures(generator, prompts) for _ in range(generator.randrange(0, 9))]


def test_the_frontier_is_the_oracles():
    generator = random.Random(23)
    seen = {True: 0, False: 0, None: 0}
    for case in range(CASES):
        rows = random_group(generator)
        found = marks_of(rows, generator)
        assert found == oracle(rows), f"case {case}: {rows}"
        for mark in found:
            seen[mark] += 1
    assert min(seen.values()) > CASES / 10, seen  # every answer was given often


def test_the_order_of_the_rows_changes_nothing():
    generator = random.Random(29)
    for _ in range(CASES // 3):
        rows = random_group(generator)
        marks = marks_of(rows, generator)
        order = generator.sample(range(len(rows)), len(rows))
        assert marks_of([rows[n] for n in order], generator) == [marks[n] for n in order]


def test_rows_that_are_not_ranked_change_nothing():
    """Chance rows, failed ones and smoke runs beside full ones: the others' marks are those without them."""
    generator = random.Random(31)
    for _ in range(CASES // 3):
        rows = random_group(generator)
        marks = marks_of(rows, generator)
        kept = [x for x, mark in zip(rows, marks) if mark is not None]
        assert marks_of(kept, generator) == [mark for mark in marks if mark is not None]


def test_the_fastest_and_smallest_row_at_chance_is_nowhere():
    generator = random.Random(37)
    for _ in range(CASES // 3):
        rows = random_group(generator)
        chance = replace(
            random_figures(generator, None, never_null=True),
            latency=(1e-6, 1e-6, 1e-6),
            memory=1,
            share=(0.01, generator.choice([0.0, 0.001, 1 / 153]), 0.04),
        )
        assert marks_of([*rows, chance], generator) == [*marks_of(rows, generator), None]


def test_of_rows_that_were_scored_on_the_same_prompts_one_with_the_most_hits_stays():
    generator = random.Random(43)
    for _ in range(CASES // 3):
        rows = []
        for _ in range(generator.randrange(1, 9)):
            x = random_figures(generator, None, never_null=True)
            hits = {n: generator.random() < generator.choice([0.3, 0.6, 0.7]) for n in range(20)}
            share = sum(hits.values()) / 20
            rows.append(replace(x, hits=hits, share=(share, share - 0.01, share + 0.01), smoke=False))
        marks = marks_of(rows, generator)
        hits_of = {n: x.share[0] for n, x in enumerate(rows) if marks[n] is not None}
        assert not hits_of or any(marks[n] for n, share in hits_of.items() if share == max(hits_of.values()))


def test_copies_of_a_row_share_its_place():
    generator = random.Random(41)
    for _ in range(CASES // 3):
        rows = random_group(generator)
        if rows:
            marks = marks_of([*rows, rows[0]], generator)
            assert marks[:-1] == marks_of(rows, generator) and marks[-1] == marks[0]


# The whole way from measurements.


def random_measurements(generator: random.Random) -> list[tuple[Measurement, Figures]]:
    made = []
    for n in range(generator.randrange(1, 8)):
        smoke = generator.random() < generator.choice([0.0, 0.3, 1.0])
        prompts = 8 if smoke else 153
        rate = generator.choice([0.0, 0.01, 0.02, 0.5, 0.55, 0.9])
        hits = None if generator.random() < 0.05 else [p for p in range(prompts) if generator.random() < rate]
        status = Status.OK if generator.random() < 0.95 else Status.CRASHED
        m = measurement(
            f"point-e-nano-text/recipe-{n}@cpu",
            seconds=generator.choice([None, 0.5, 1.0, 1.0, 1.03, 1.2, 2.0]),
            spread=generator.choice([0.001, 0.02, 0.3]),
            samples=generator.choice([1, 9, 9, 9]),
            memory=generator.choice([None, 100_000_000, 100_000_000, 101_000_000, 104_000_000, 200_000_000]),
            hits=hits,
            prompts=prompts,
            smoke=smoke,
            status=status,
        )
        made.append((m, figures_of(m)))
    return made


def figures_of(m: Measurement) -> Figures:
    nothing = Interval.model_construct(value=None, low=None, high=None)
    latency: Interval = m.latency.median if isinstance(m.latency, Latency) else nothing
    share: Interval = m.quality.r_precision if m.quality else nothing
    return Figures(
        latency=(latency.value, latency.low, latency.high),
        memory=m.memory and m.memory.peak_memory_bytes,
        share=(share.value, share.low, share.high),
        smoke=m.smoke,
        hits={int(o.prompt.split()[1]): o.rank_153 == 0 for o in m.quality.outcomes} if m.quality else None,
        other_reason=m.status != Status.OK,
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_rows_of_a_history_have_the_oracles_marks(seed):
    generator = random.Random(seed)
    for _ in range(80):
        made = random_measurements(generator)
        expected = {m.configuration: mark for (m, _), mark in zip(made, oracle([x for _, x in made]))}
        generator.shuffle(made)
        rows = measured_rows([m for m, _ in made])
        assert {row.configuration: row.on_frontier for row in rows} == expected

        # An answer names all that cannot be told from the highest share within the limit, the fastest first.
        limit = generator.choice([None, 0.6, 1.1])
        known = {key(m): m.quality for m, _ in made if m.quality is not None}
        found = answer(rows, max_latency_s=limit, qualities=known)
        fits = [
            (x.share[0], m.configuration)
            for m, x in made
            if expected[m.configuration] is not None
            and (limit is None or (x.latency[2] is not None and x.latency[2] <= limit))
        ]
        assert (found.best is None) == (not fits) and found.fitting == len(fits)
        if found.best is not None:
            assert found.top.r_precision == max(fits)[0]
            by_name = {m.configuration: x for m, x in made}
            top = by_name[found.top.configuration]
            good = [name for _, name in fits if not clearly_truer(top, by_name[name])]
            named = [found.best.configuration, *(tied.configuration for tied in found.tied)]
            assert sorted(named) == sorted(good)
            assert by_name[named[0]].latency[0] == min(by_name[name].latency[0] for name in good)
