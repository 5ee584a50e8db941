"""Do two configurations differ in quality? Prompt by prompt, on the same prompts and start noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from suite.judging import anytime as at_any_time
from suite.judging.intervals import mean_interval, proportion
from suite.judging.scores import ATTRIBUTES, hit_shares, kept
from suite.records import GALLERY_SIZE, Interval, PromptOutcome, Quality

SIGNIFICANCE = 0.05  # a change of quality below this p value is no accident


def hit_pairs(quality: Quality, reference: Quality, gallery: int = GALLERY_SIZE) -> list[tuple[bool, bool]]:
    """(this one hits, the reference hits) for every prompt that both were scored on in that gallery."""
    return outcome_pairs(quality.outcomes, reference.outcomes, gallery)


def outcome_pairs(
    outcomes: Sequence[PromptOutcome], reference: Sequence[PromptOutcome], gallery: int = GALLERY_SIZE
) -> list[tuple[bool, bool]]:
    """The same of outcomes that are no quality yet."""
    known = _hits(reference, gallery)
    return [(hit, known[prompt]) for prompt, hit in _hits(outcomes, gallery).items() if prompt in known]


def change(quality: Quality, reference: Quality) -> Interval | None:
    """How much oftener an object is recognized among 153 than the reference's; None where no prompt is common. Of
    several starts a prompt's share of hits is one value, and Student's t is taken over prompts."""
    differences = _share_differences(quality, reference)
    if differences is None:
        pairs = hit_pairs(quality, reference)
        return difference(pairs, anytime=looked_at(quality, reference)) if pairs else None
    mean = mean_interval(differences)
    return Interval(value=mean.value, low=max(-1.0, mean.low), high=min(1.0, mean.high))


def p_value(quality: Quality, reference: Quality) -> float | None:
    """Two-sided, of no change: McNemar's exact test, and of several starts a prompt Student's over prompts."""
    differences = _share_differences(quality, reference)
    if differences is None:
        pairs = hit_pairs(quality, reference)
        return mcnemar_p(pairs, anytime=looked_at(quality, reference)) if pairs else None
    from scipy.special import stdtr  # as in `suite.judging.intervals`

    t = fmean(differences) / (stdev(differences) / math.sqrt(len(differences)))
    return 2 * float(stdtr(len(differences) - 1, -abs(t)))


def _share_differences(quality: Quality, reference: Quality) -> list[float] | None:
    """By common prompt, of the shares over all starts; None where there is one start only, or no scatter to tell an
    interval from."""
    if max(quality.starts, reference.starts) == 1:
        return None
    here, there = (hit_shares(q.outcomes, GALLERY_SIZE) for q in (quality, reference))
    found = [share - there[prompt] for prompt, share in here.items() if prompt in there]
    return found if len(set(found)) > 1 else None


def looked_at(*qualities: Quality | None) -> bool:
    """Whether scoring one of these ended when it knew."""
    return any(q is not None and q.stopped is not None and q.stopped.difference is not None for q in qualities)


def _hits(outcomes: Sequence[PromptOutcome], gallery: int) -> dict[str, bool]:
    """By prompt; empty where the prompt set has no such gallery."""
    ranks = {outcome.prompt: getattr(outcome, f"rank_{gallery}") for outcome in outcomes}
    return {prompt: rank == 0 for prompt, rank in ranks.items() if rank is not None}


def attribute_differences(quality: Quality, reference: Quality) -> dict[str, Interval]:
    """By attribute, how many more objects keep it than of the reference, on the prompts of both that have it. Empty
    where they were asked of two judges."""
    asked = [q.second_opinion and q.second_opinion.judge for q in (quality, reference)]
    if asked[0] != asked[1]:
        return {}
    here, there = ({o.prompt: kept(o) for o in q.outcomes} for q in (quality, reference))
    found = {}
    for name in ATTRIBUTES:
        pairs = [(one[name], there[p][name]) for p, one in here.items() if name in one and name in there.get(p, {})]
        if pairs:
            found[name] = difference(pairs, anytime=looked_at(quality, reference))
    return found


def difference(pairs: Sequence[tuple[bool, bool]], *, anytime: bool = False) -> Interval:
    """Difference of the hit rates with its 95 % interval: method 10 of Newcombe 1998, "Improved confidence intervals
    for the difference between binomial proportions based on paired data", Statistics in Medicine 17, 2635–2650.

    The Wilson intervals of the two rates are put together with their correlation, which is taken with a continuity
    correction. Unlike a bootstrap over prompts it keeps a width when no prompt tells the two apart. anytime: how many
    prompts there are was settled by looking at them (`suite.judging.anytime`), which takes a wider interval.
    """
    if not pairs:
        raise ValueError("no prompt was scored on both: there is nothing to pair")
    if anytime:
        return at_any_time.difference(pairs)
    count = len(pairs)
    both = sum(here and there for here, there in pairs)
    won = sum(here and not there for here, there in pairs)
    lost = sum(there and not here for here, there in pairs)
    neither = count - both - won - lost
    here, there = proportion(both + won, count), proportion(both + lost, count)
    correlation = _correlation(both, won, lost, neither)
    middle = (won - lost) / count
    below = _side(here.value - here.low, there.high - there.value, correlation)
    above = _side(here.high - here.value, there.value - there.low, correlation)
    return Interval(value=middle, low=max(-1.0, middle - below), high=min(1.0, middle + above))


def _correlation(both: int, won: int, lost: int, neither: int) -> float:
    """Phi of the two-by-two table, a positive one with a continuity correction; 0 where a margin is empty."""
    margins = (both + won) * (lost + neither) * (both + lost) * (won + neither)
    if not margins:
        return 0.0
    cross = both * neither - won * lost
    if cross > 0:
        return max(cross - (both + won + lost + neither) / 2, 0) / math.sqrt(margins)
    return cross / math.sqrt(margins)


def _side(a: float, b: float, correlation: float) -> float:
    """How far an end lies from the difference, given how far the two rates' ends lie from them."""
    return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))


def mcnemar_p(pairs: Sequence[tuple[bool, bool]], *, anytime: bool = False) -> float:
    """Two-sided exact McNemar test on the discordant prompts (McNemar 1947); 1.0 when there are none. anytime: as in
    `difference`."""
    if anytime:
        return at_any_time.p_value(pairs)
    won = sum(here and not there for here, there in pairs)
    lost = sum(there and not here for here, there in pairs)
    from scipy.special import bdtr  # as in `suite.judging.intervals`

    # Of a fair coin both sides are alike: twice the smaller, which an even split counts its middle twice in.
    return min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5))) if won + lost else 1.0
