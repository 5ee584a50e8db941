"""What scoring gives: one object's outcome, and what those of many show. `suite.records` says how records are."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from suite.fields import CleanText, Cosine, Count, FileName, Fraction, Sha256, ShortText, UtcTime, within

GALLERY_SIZE = 153  # captions that `rank_153` and `r_precision` are told among: chance hits one in so many
Attribute = Literal["colour", "shape", "size", "count", "relation"]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(Record):
    """A value with its 95 % interval; an end that one sample cannot give is None."""

    value: float
    low: float | None = None
    high: float | None = None


Share = Annotated[Interval, within(0, 1)]
ShareDifference = Annotated[Interval, within(-1, 1)]
Distance = Annotated[Interval, within(0, 1e6, ends=False)]  # of a few, by Student: the low end may be below 0


class MeshFacts(Record):
    """Of one mesh: `suite/metrics/mesh_gate.py`."""

    watertight: bool  # every edge has two faces
    components: Count  # parts that no edge joins
    faces: Count
    degenerate_faces: Count  # without an area


class StartOutcome(Record):
    """Another object of a prompt, from another start noise: its own caption's ranks, 0 is first."""

    rank_153: int = Field(ge=0, lt=GALLERY_SIZE)
    rank_3001: int | None = Field(default=None, ge=0, lt=3001)


class PromptOutcome(Record):
    """One scored object: the rank of its own caption (0 is first) and its lead over the best other caption."""

    prompt: str
    rank_153: int = Field(ge=0, lt=GALLERY_SIZE)
    rank_3001: int | None = Field(default=None, ge=0, lt=3001)  # None: its prompt set has no gallery of 3,001
    margin_153: Cosine
    margin_3001: Cosine | None = None
    worst_view_margin_153: Cosine | None = None  # the least lead of a single view; None: not recorded
    attribute_margins: dict[Attribute, Cosine] | None = None  # over near misses; None: no scene of the grammar
    second_rank_153: int | None = Field(default=None, ge=0, lt=GALLERY_SIZE)  # by the second judge; None: not asked
    chamfer: float | None = Field(default=None, ge=0)  # to the ground truth, where there is one
    chamfer_to_fp32: float | None = Field(
        default=None, ge=0, le=1e6
    )  # to fp32's object from the same noise, where it is kept
    f_score_to_fp32: Fraction | None = None
    mesh: MeshFacts | None = None  # None: no mesh, or one without faces
    other_starts: list[StartOutcome] = Field(default=[], max_length=15)  # --samples; all else is of the first start


class Borrowed(Record):
    """Where outcomes come from that this run did not score itself: `suite/judging/borrowing.py`."""

    session: FileName
    board: FileName | None
    measured_at: UtcTime
    scored_here: Count  # prompts, each as in that session


NonInferiority = Literal["non-inferior", "inferior", "open"]


class Stopped(Record):
    """Scoring that ended when it knew: `suite/judging/stopping.py`."""

    why: Literal["decided", "time", "all prompts"]
    verdict: NonInferiority | None  # None: there was no reference to hold it against
    gallery: int = Field(ge=2, le=3001)  # in which a hit was asked for
    margin: Fraction  # of the hit rate
    pairs: Count  # prompts that both were scored on
    difference: ShareDifference | None = None  # of the hit rates, valid wherever one stops
    reference_session: FileName | None = None


Ending = Literal["png", "ply", "glb"]  # of a file of an object: its picture, a cloud, a mesh


class KeptObject(Record):
    """What a run kept of one scored object: each file's SHA-256, which is its name in a store (`suite/objects.py`)."""

    prompt: str
    files: dict[Ending, Sha256] = Field(default={}, max_length=3)
    note: ShortText | None = None  # why a file is missing, or how a mesh was made smaller


class MeshGate(Record):
    """What many meshes are like: shown, never ranked."""

    meshes: Count
    watertight: Share  # of the meshes
    components: float = Field(ge=0, le=1e9)  # of a mesh, median
    degenerate_faces: Fraction  # of all faces


class SecondOpinion(Record):
    """What another judge says of the same objects, hits among 153 by hits: `suite/judging/agreement.py`."""

    judge: ShortText
    r_precision: Share
    both: Count  # objects that both judges recognize
    only_first: Count
    only_second: Count
    neither: Count

    @property
    def objects(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def agreement(self) -> float:
        """The share of objects on which both judges say the same."""
        return (self.both + self.neither) / self.objects


class Quality(Record):
    """CLIP R-Precision by retrieval (Park et al. 2021; DreamFields, arXiv:2112.01455, section 4), and beside it what
    tells apart objects that are all recognized. What is not known is None or empty."""

    judge: ShortText
    outcomes: list[PromptOutcome]
    r_precision: Share  # gallery of 153
    r_precision_3001: Share | None = None  # None: its prompt set has no such gallery
    worst_view: Share | None = None  # recognized among 153 from every view alone
    attributes: dict[Attribute, Share] = {}  # objects that are not taken for a near miss in it
    chamfer: Distance | None = None
    chamfer_to_fp32: Distance | None = None
    f_score_to_fp32: Share | None = None
    meshes: MeshGate | None = None
    diversity: Distance | None = None  # Chamfer distance between two objects of the same prompt
    second_opinion: SecondOpinion | None = None  # None: no second judge was asked
    not_known: dict[FileName, CleanText] = {}  # by field, why it is None where others have it
    batch_size: int | None = None  # objects made together at most; None: not recorded, one at a time
    borrowed: Borrowed | None = None
    stopped: Stopped | None = None  # None: as many prompts as were asked for
    warnings: list[str] = []

    @property
    def prompts(self) -> int:
        return len(self.outcomes)

    @property
    def starts(self) -> int:
        """Objects of each prompt, of different start noise; the most, where prompts differ."""
        return 1 + max((len(outcome.other_starts) for outcome in self.outcomes), default=0)

    @property
    def hits_id(self) -> str:
        """Names which prompts were hit and which were missed, in their order."""
        hits = [(outcome.prompt, outcome.rank_153 == 0) for outcome in self.outcomes]
        return hashlib.sha256(repr(hits).encode()).hexdigest()[:16]
