"""What objects look like: of one prompt, those of every recipe that were kept, with how each was judged. Without
streamlit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dashboard.compare import Comparison, recipe
from dashboard.history import when
from leaderboards.kinds import kind_of
from leaderboards.objects import Made, stores_of
from suite.catalogue.optimizations import REFERENCE
from suite.history import latest
from suite.records import GALLERY_SIZE, Ending, KeptObject, Measurement, PromptOutcome

VIEWED: tuple[Ending, ...] = ("glb", "ply")
HOW_TO_KEEP = (
    "A run that scores prompts keeps the objects of the first four. Measure a cell, or make a recipe's objects by "
    "name:\n\n"
    "    pytest -m cpu -k point-e-nano-text/distilled-2 --benchmark-save\n"
    "    python -m benchmarks.objects point-e-nano-text/distilled-2\n\n"
    "`python -m leaderboards keep FILE` copies what a session kept to `leaderboards/objects`, so that a clone shows it."
)


@dataclass(frozen=True)
class Subject:
    """A recipe with objects to look at, and what is known of each prompt."""

    recipe: str  # with its weights
    kind: str
    objects: Mapping[str, KeptObject]  # by prompt
    outcomes: Mapping[str, PromptOutcome]  # by prompt; empty where no run of these weights was scored
    said: str  # where the objects come from
    weights_sha256: str | None = None
    stores: list[Path] = field(default_factory=list)  # where their files may lie

    @property
    def model(self) -> str:
        return self.recipe.partition("/")[0]


def subjects(measurements: Iterable[Measurement], made: Iterable[Made], folders: Sequence[Path]) -> list[Subject]:
    """One a recipe and kind of weights: what its newest run kept, else what was made for it by name. The reference of a
    model comes first."""
    runs: dict[str, list[Measurement]] = {}
    for m in sorted(latest(measurements), key=lambda m: (not m.smoke, m.measured_at), reverse=True):
        if m.quality is not None:
            runs.setdefault(recipe(m), []).append(m)
    by_name = {f"{entry.recipe}, {entry.weights} weights": entry for entry in made}
    found = []
    for name in runs.keys() | by_name.keys():
        its = runs.get(name, [])
        if (kept := next((m for m in its if m.objects), None)) is not None:
            found.append(of_run(kept, folders))
        elif name in by_name:
            found.append(of_made(by_name[name], its, folders))
    return sorted(found, key=lambda s: (s.model, f"/{REFERENCE}," not in s.recipe, s.recipe))


def of_run(m: Measurement, folders: Sequence[Path]) -> Subject:
    return Subject(
        recipe(m),
        kind_of(m.configuration, m.output),
        {one.prompt: one for one in m.objects},
        {} if m.quality is None else {o.prompt: o for o in m.quality.outcomes},
        f"kept by session {m.session} on {m.board}, {when(m)}",
        None if m.fingerprint is None else m.fingerprint.weights_sha256,
        stores_of(folders, m),
    )


def of_made(entry: Made, runs: Iterable[Measurement], folders: Sequence[Path]) -> Subject:
    """runs: of that recipe, the one first whose outcomes are wanted; only those of the same weights count."""
    same = (m for m in runs if m.fingerprint and m.fingerprint.weights_sha256 == entry.weights_sha256)
    judged = next(same, None)
    outcomes = {} if judged is None else {o.prompt: o for o in judged.quality.outcomes}
    where = "judged by no run at hand" if judged is None else f"judged as in session {judged.session}"
    return Subject(
        f"{entry.recipe}, {entry.weights} weights",
        kind_of(f"{entry.recipe}@cpu", entry.output),
        {one.prompt: one for one in entry.objects},
        outcomes,
        f"made by `{entry.how}` from the same noise and weights, {where}",
        entry.weights_sha256,
        stores_of(folders),
    )


def prompts(of: Iterable[Subject]) -> list[str]:
    """All that something was kept of, in their order."""
    return list(dict.fromkeys(prompt for subject in of for prompt in subject.objects))


def pair(c: Comparison, made: Sequence[Made], folders: Sequence[Path]) -> tuple[Subject, Subject] | None:
    """Both sides of a comparison, where something is kept of each; an object that was made by name stands for a side
    of the same recipe and weights."""
    a, b = (_side(m, made, folders) for m in (c.a, c.b))
    return None if a is None or b is None else (a, b)


def _side(m: Measurement, made: Iterable[Made], folders: Sequence[Path]) -> Subject | None:
    if m.objects:
        return of_run(m, folders)
    same = (
        entry
        for entry in made
        if f"{entry.recipe}, {entry.weights} weights" == recipe(m)
        and m.fingerprint
        and m.fingerprint.weights_sha256 == entry.weights_sha256
    )
    entry = next(same, None)
    return None if entry is None or m.quality is None else of_made(entry, [m], folders)


def common_prompts(a: Subject, b: Subject) -> list[str]:
    """Kept on both sides; those on which they differ first."""
    common = [prompt for prompt in a.objects if prompt in b.objects]
    return sorted(common, key=lambda prompt: not differ(a, b, prompt))


def differ(a: Subject, b: Subject, prompt: str) -> bool:
    sides = [s.outcomes.get(prompt) for s in (a, b)]
    return None not in sides and (sides[0].rank_153 == 0) != (sides[1].rank_153 == 0)


def judged(outcome: PromptOutcome | None) -> str:
    """Hit or miss, with the lead of the own caption over the best other."""
    if outcome is None:
        return "not judged"
    if outcome.rank_153 == 0:
        return f"hit, lead {outcome.margin_153:.3f}"
    if outcome.margin_153 <= -2:
        return "miss: nothing was made"
    return f"miss: {outcome.rank_153 + 1} of {GALLERY_SIZE}, behind by {-outcome.margin_153:.3f}"


def viewed(kept: KeptObject) -> Ending | None:
    """The file that is turned, the first that is there; None where none is."""
    return next((ending for ending in VIEWED if ending in kept.files), None)


def file_name(subject: Subject, prompt: str) -> str:
    """Without an ending, of plain letters, whatever a prompt holds."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{prompt[:80]}".lower()).strip("-") or "object"
    return f"{words}--{re.sub(r'[^A-Za-z0-9.+-]+', '-', subject.recipe.partition(',')[0])}"
