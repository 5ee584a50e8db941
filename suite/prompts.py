"""What is asked for, and among which captions an object must be recognized: prompt sets by name, and a user's own.

    embedded    1,024 captions of the embedded grammar and 3,000 distractors of it, committed in one file
    coco        the 153 object-centric COCO captions of DreamFields, downloaded once and never committed

Without torch.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from suite.catalogue.extensions import find_judge
from suite.catalogue.judges import JUDGE_OF
from suite.catalogue.models import Model
from suite.models.checkpoints.archives import ArchiveError, check_pictures
from suite.models.checkpoints.download import Report, download
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError, sha256_of
from suite.models.checkpoints.foreign import why_foreign
from suite.models.checkpoints.official import cache_folder, locate, verified
from suite.models.checkpoints.official_files import MODEL_FILES, OFFICIAL
from suite.models.checkpoints.pins import RemoteFile
from suite.models.conditioning.pictures_on_disk import PICTURES_VARIABLE, key_of
from suite.models.conditioning.reading import PAINTED, clip_tokens, lines_of, why_cut
from suite.names import unknown
from suite.records import GALLERY_SIZE
from suite.scenes import vocabulary
from suite.scenes.captions import normalize
from suite.scenes.gallery import GALLERY

TIMING_PROMPTS = {"embedded": "a small red cube on a large blue ball"}  # by prompt set; else its first
COCO_COUNT = 153
RIVALS, RIVALS_LARGE = GALLERY_SIZE - 1, 3000  # captions beside an object's own, in the two galleries
LARGEST_CAPTIONS_BYTES = 1 << 20
LONGEST = 300  # characters; CLIP reads 75 tokens of a prompt
# What decides between two texts, by who reads them: where it is the same, the score would be rounding noise.
CLIP_READS = {"CLIP, whose tokens are the same": clip_tokens}
PICTURES_READ = {"pictures on a disk, which are found by words alone": key_of}
ALL_READ = {"the embedded models, for whom case and a full stop mean nothing": normalize} | CLIP_READS

COCO_CAPTIONS = RemoteFile(
    name="coco_queries_val.py",
    url="https://raw.githubusercontent.com/google-research/google-research/"
    "ccc94ce348360ddcd41c749d4088d468ccfd1eaf/dreamfields/dreamfields/config/coco_queries_val.py",
    sha256="28de45a7e10a59fa7c392dad24292bf1a78dbae394a1ded52c805e564b22e88c",
    bytes=9779,
    source="google-research/google-research, dreamfields (Apache-2.0), at a pinned commit",
)
COCO_PICTURES = RemoteFile(
    name="coco_images.zip",
    url="https://openaipublic.azureedge.net/main/point-e/coco_images.zip",
    source="openai/point-e, README.md: the conditioning pictures of its COCO evaluation, without a hash",
)


class PromptsError(ValueError):
    """A prompt file is not what it should be."""


@dataclass(frozen=True)
class PromptSet:
    name: str
    prompts: tuple[str, ...]
    captions: tuple[str, ...]  # what an object's own caption is ranked among, in this order; its own is left out
    sha256: str  # of all that decides a rank
    scenes: bool  # whether captions of the embedded grammar mean its scenes, so that there is a ground truth
    large: bool  # whether there is a gallery of 3,001 besides that of 153

    def rivals(self, prompt: str, count: int = RIVALS_LARGE) -> list[str]:
        return [caption for caption in self.captions if caption != prompt][:count]


def load_prompts(name: str, file: Path | None = None) -> PromptSet:
    """A prompt set; with a file, the file's prompts among themselves and that set's captions."""
    if name not in SETS:
        raise unknown("prompt set", name, SETS)
    base = SETS[name]()
    return base if file is None else of_file(file, base)


def timing_prompt(name: str) -> str:
    """The prompt of this set that latency is told of; pictures on a disk are there for their captions only."""
    if name in TIMING_PROMPTS:
        return TIMING_PROMPTS[name]
    try:
        return load_prompts(name).prompts[0]
    except WeightsAbsent:  # random weights need no captions, and any prompt takes as long
        return "a red motorcycle"


def find_judging(name: str, judge: str | None = None, file: Path | None = None) -> None:
    """WeightsAbsent when captions or judge are not on this machine: asked before a cell spends its time."""
    load_prompts(name, file)
    entry = find_judge(judge or JUDGE_OF[name])
    if entry.name in OFFICIAL:
        locate(OFFICIAL[entry.name], entry.name)
    if entry.python is not None and not os.environ.get(entry.python):
        raise WeightsAbsent(f"{entry.name} runs in a Python of its own: set {entry.python} to that of its environment")


def check_file(file: Path) -> None:
    """PromptsError for a file that cannot be scored rightly beside the captions of each set on this machine."""
    read_prompts(file)
    for name in SETS:
        with suppress(WeightsError):  # absent captions, or wrong ones, are told by the cells that need them
            load_prompts(name, file)


def why_unreadable(
    name: str, judge: str | None = None, file: Path | None = None, model: Model | None = None
) -> str | None:
    """Why the models of a prompt set, this one, or the judge cannot read what is asked: a file's first such line with
    the reason, and what can be done; None where they can. Embedded networks know the words of their grammar, published
    ones all, but a sentence around a prompt may leave no place for its end."""
    if judge is not None and name not in (reads := find_judge(judge).reads):
        others = f"{name} has others; --judge {JUDGE_OF[name]} reads them"
        return f"{judge} knows the words of {' and '.join(reads)} prompts only, and {others}"
    if file is None:
        return None
    if name == "embedded":
        return _first_line_of(file, vocabulary.why_unreadable, "full-size models read any words")
    if model is None:
        return None
    return _first_line_of(file, lambda prompt: why_cut_by(model, prompt), f"it is painted as {PAINTED!r}")


def _first_line_of(file: Path, why_not: Callable[[str], str | None], remark: str) -> str | None:
    """The first line that cannot be read and why, if any."""
    wrong = [(n, why) for n, prompt in enumerate(read_prompts(file), 1) if (why := why_not(prompt))]
    if not wrong:
        return None
    line, why = wrong[0]
    more = f" (and in {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{file.name}, line {line}{more}: {why}; {remark}"


def why_cut_by(model: Model, prompt: str) -> str | None:
    """Why the CLIP that a published model asks would not read a prompt to its end; None where it does, where the model
    has no such CLIP, or where it is given pictures."""
    if "clip-vit-l-14" not in MODEL_FILES.get(model.name, ()):
        return None
    if "text-to-image" not in model.stages:
        return why_cut(prompt)
    return None if os.environ.get(PICTURES_VARIABLE) else why_cut(PAINTED.format(prompt=prompt))


def _embedded() -> PromptSet:
    gallery = json.loads(GALLERY.read_text())
    prompts, captions = tuple(gallery["prompts"]), tuple(gallery["distractors"])
    return PromptSet("embedded", prompts, captions, sha256_of(GALLERY), scenes=True, large=True)


def _coco() -> PromptSet:
    """Each caption among the other 152. No more are published, and others of another kind would make it no harder."""
    path, _ = verified(COCO_CAPTIONS, "coco", read_coco)
    prompts = tuple(read_coco(path))
    return _with_digest(PromptSet("coco", prompts, prompts, "", scenes=False, large=False))


SETS: dict[str, Callable[[], PromptSet]] = {"embedded": _embedded, "coco": _coco}


def read_coco(path: Path) -> list[str]:
    """The captions of DreamFields' file, in its own form: lower case, one full stop. Its code is read, not run."""
    try:
        if reason := why_foreign(path, "captions", plain_text=True):
            raise WeightsError(f"{path}: not the file of captions that it should be: it {reason}")
        if (size := path.stat().st_size) > LARGEST_CAPTIONS_BYTES:
            raise WeightsError(f"{path}: not the file of captions that it should be ({size:,} bytes)")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
        queries = ast.literal_eval(lists[0])
    except (OSError, SyntaxError, ValueError, IndexError, RecursionError, MemoryError) as error:
        raise WeightsError(f"{path}: not the file of captions that it should be ({error})") from None
    if len(queries) != COCO_COUNT or not all(isinstance(query, str) for query in queries):
        raise WeightsError(f"{path}: {len(queries)} captions, expected {COCO_COUNT}")
    return [query.lower().strip(" .,") + "." for query in queries]


def of_file(path: Path, base: PromptSet) -> PromptSet:
    """A file's prompts among themselves and a set's captions, without those that are a line themselves. PromptsError
    names a line that is read like another of these captions."""
    prompts = tuple(read_prompts(path))
    line_of = {prompt: line for line, prompt in enumerate(prompts, 1)}
    others = tuple(caption for caption in base.captions if _plain(caption) not in line_of)
    read = ALL_READ if base.scenes else CLIP_READS
    known = {reading: prompt for prompt in prompts for reading in _readings(prompt, read)}
    for caption in others:
        for reading in _readings(caption, read):
            if reading in known:
                prompt, who = known[reading], reading[0]
                raise PromptsError(
                    f"{path}, line {line_of[prompt]}: {prompt!r} is read like {caption!r}, a caption that it would be "
                    f"ranked among, by {who}; write it as that caption"
                )
    captions = prompts + others
    return _with_digest(replace(base, name=f"file:{path.name}", prompts=prompts, captions=captions))


def _with_digest(prompts: PromptSet) -> PromptSet:
    text = json.dumps([prompts.prompts, prompts.captions])
    return replace(prompts, sha256=hashlib.sha256(text.encode()).hexdigest())


def read_prompts(path: Path) -> list[str]:
    """One prompt a line. PromptsError names the line that is empty, longer than any reader reads, there twice, or the
    same as another to one of the readers."""
    try:
        lines = lines_of(path.read_bytes())
    except OSError as error:
        raise PromptsError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise PromptsError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from None
    first: dict[str, int] = {}
    known: dict[tuple[str, object], str] = {}
    read = ALL_READ | (PICTURES_READ if os.environ.get(PICTURES_VARIABLE) else {})
    for number, line in enumerate(lines, 1):
        prompt = _plain(line)
        if not prompt:
            raise PromptsError(f"{path}, line {number}: empty; each line is one prompt")
        if len(prompt) > LONGEST:
            raise PromptsError(f"{path}, line {number}: {len(prompt)} characters; the longest prompt has {LONGEST}")
        if prompt in first:
            raise PromptsError(f"{path}, line {number}: {prompt!r} is line {first[prompt]} already")
        if cut := why_cut(prompt):
            raise PromptsError(f"{path}, line {number}: {cut}")
        for reading in _readings(prompt, read):
            if (other := known.setdefault(reading, prompt)) != prompt:
                raise PromptsError(
                    f"{path}, line {number}: {prompt!r} is read like line {first[other]}, {other!r}, by {reading[0]}"
                )
        first[prompt] = number
    if not first:
        raise PromptsError(f"{path}: empty; expected one prompt a line")
    return list(first)


def _plain(line: str) -> str:
    """One space between words, none around them."""
    return " ".join(line.split())


def _readings(text: str, read: Mapping[str, Callable[[str], object]]) -> list[tuple[str, object]]:
    """What a text is to each reader, by reader; nothing where that cannot be told here."""
    made = [(who, tokens(text)) for who, tokens in read.items()]
    return [(who, reading) for who, reading in made if reading is not None]


def fetch_captions(report: Report = lambda here, total: None) -> Path:
    return download(COCO_CAPTIONS, cache_folder(), report=report, accept=read_coco)


def fetch_pictures(report: Report = lambda here, total: None) -> Path:
    return download(COCO_PICTURES, cache_folder(), report=report, accept=accept_zip)


def accept_zip(path: Path) -> None:
    if reason := why_foreign(path, "a zip file of pictures"):
        raise WeightsError(f"{path}: not a zip file: it {reason}")
    try:
        check_pictures(path)
    except ArchiveError as error:
        raise WeightsError(f"{path}: {error}") from None
