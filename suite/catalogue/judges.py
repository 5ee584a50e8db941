"""The judges that recognize objects, one literal entry each. Without torch; builders are named as "module:function"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A frozen network that embeds captions and pictures; it took no part in making what it judges, or is marked."""

    name: str
    builder: str  # called as builder(name); what it gives has name, size_px, captions and views (docs/extending.md)
    reads: tuple[str, ...]  # the prompt sets whose words it knows
    # The environment variable that names a Python whose packages the judge needs; it then runs there, in a process of
    # its own (`suite.metrics.judges_elsewhere`). None: in the worker.
    python: str | None = None
    source: str


NANO, SECOND_NANO = "clip-nano-judge", "clip-nano-second-judge"
JUDGE_OF = {"embedded": NANO, "coco": "clip-vit-b-32"}  # by prompt set, unless another is asked for
# Who is asked beside it, of the same pictures, so that one can say how far a figure hangs on the judge.
SECOND_JUDGE_OF = {"embedded": SECOND_NANO}

JUDGES = {
    judge.name: judge
    for judge in (
        Judge(
            name=NANO,
            builder="suite.metrics.judges:nano",
            reads=("embedded",),
            source="suite/embedded/cards/clip-nano.md",
        ),
        Judge(
            name=SECOND_NANO,
            builder="suite.metrics.judges:nano",
            reads=("embedded",),
            source="suite/embedded/cards/clip-nano-second-judge.md",
        ),
        Judge(
            name="clip-vit-b-32",
            builder="suite.metrics.judges:openai",
            reads=("embedded", "coco"),
            source="Radford et al. 2021, arXiv:2103.00020, ViT-B/32 of OpenAI",
        ),
        Judge(
            name="clip-vit-l-14",
            builder="suite.metrics.judges:openai",
            reads=("embedded", "coco"),
            source="Radford et al. 2021, arXiv:2103.00020, ViT-L/14 of OpenAI; it also conditions the published models",
        ),
    )
}
