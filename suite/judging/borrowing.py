"""A few prompts scored here, the others taken from a committed session of the same configuration.

Objects do not hang on the machine: the noise is drawn on the CPU from a hash and the weights are the same bytes, so the
outcomes differ only by rounding. A slow configuration need not make 153 objects to be told what is known already. It
makes a few, and where these come out as in the committed session, that session's outcomes stand for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from suite.judging.agreement import second_opinion
from suite.judging.scores import summarize
from suite.records import Borrowed, PromptOutcome, Quality

# Cosines. Between a Zen 3 and a Zen 4 processor the 153 margins of shap-e-nano-text/fp32 differ by 0.0008 at most,
# those of int8-fbgemm-linear by 0.005 within four prompts already: its sums depend on the processor (VNNI or not).
TOLERANCE = 0.002


@dataclass(frozen=True)
class Committed:
    """The quality that a committed session found, and what it hangs on."""

    session: str
    board: str | None
    measured_at: str
    weights_sha256: str | None
    gallery_sha256: str | None
    quality: Quality


def differing(scored: Quality, committed: Committed) -> list[str]:
    """The prompts among those scored here that came out otherwise there, or are not there."""
    known = {outcome.prompt: outcome for outcome in committed.quality.outcomes}
    return [o.prompt for o in scored.outcomes if o.prompt not in known or not _same(o, known[o.prompt])]


def _same(here: PromptOutcome, there: PromptOutcome) -> bool:
    margins = [(here.margin_153, there.margin_153), (here.margin_3001, there.margin_3001)]
    return all(a is b is None or (a is not None and b is not None and abs(a - b) <= TOLERANCE) for a, b in margins)


def with_borrowed(scored: Quality, committed: Committed) -> Quality:
    """The outcomes of both, this run's own first; where they do not agree its own alone, with a warning."""
    if other := differing(scored, committed):
        warning = (
            f"{len(other)} of {len(scored.outcomes)} prompts scored here came out otherwise in the committed session "
            f"{committed.session} ({other[0]!r} first), so none is taken from there"
        )
        return scored.model_copy(update={"warnings": [*scored.warnings, warning]})
    own = {outcome.prompt for outcome in scored.outcomes}
    rest = [outcome for outcome in committed.quality.outcomes if outcome.prompt not in own]
    second, theirs = scored.second_opinion, committed.quality.second_opinion
    if second is None or theirs is None or second.judge != theirs.judge:
        # Attributes are asked of the second judge too.
        unknown = {"second_rank_153": None, "attribute_margins": None}
        rest = [outcome.model_copy(update=unknown) for outcome in rest]
    borrowed = Borrowed(
        session=committed.session,
        board=committed.board,
        measured_at=committed.measured_at,
        scored_here=len(scored.outcomes),
    )
    both = summarize(scored.judge, [*scored.outcomes, *rest], committed.quality.diversity)
    said = {
        "batch_size": scored.batch_size,
        "borrowed": borrowed,
        "second_opinion": second and second_opinion(second.judge, both.outcomes),
        "warnings": scored.warnings,
        "not_known": scored.not_known,
    }
    return both.model_copy(update=said)
