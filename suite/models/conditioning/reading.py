"""How text is read, without torch: the lines of a file, and the tokens that OpenAI's CLIPs see of a line.

Every text encoder of a full-size model, and every judge of one, has this tokenizer. open_clip's own needs torch, which
pytest's process leaves out. This one reads the same file of merges, and `tests/test_reading.py` holds it to the other.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

CLIP_CONTEXT = 77  # tokens, with a start and an end; what is longer is cut
# What text-to-image pipelines are asked for: the 3D networks saw renders of single objects.
PAINTED = "a 3D render of {prompt}, plain background"
MARKS = ("<start_of_text>", "<end_of_text>")  # are tokens in a text too; a reading ends at the second
_MERGES = 49152 - 256 - 2
_WORDS = "|".join((*MARKS, r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"))


def lines_of(data: bytes) -> list[str]:
    """A text's lines, which end at \\n or \\r\\n and nowhere else. UnicodeDecodeError where it is not UTF-8."""
    lines = data.decode("utf-8-sig").removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


@lru_cache(maxsize=1)
def _ranks() -> dict[tuple[str, str], int] | None:
    """Which two pieces are joined, the most usual first; None where open_clip or what its tokenizer needs is absent."""
    if any(importlib.util.find_spec(name) is None for name in ("open_clip", "ftfy", "regex")):
        return None
    path = Path(importlib.util.find_spec("open_clip").origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}


@lru_cache(maxsize=1)
def _letters() -> dict[int, str]:
    """A printable letter for each byte, as the merges write it: those that are one stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + k) for k, byte in enumerate(others)}


@cache
def _pieces(word: str) -> tuple[str, ...]:
    if word in MARKS:
        return (word,)
    ranks, (*first, last) = _ranks(), [_letters()[byte] for byte in word.encode()]
    pieces = [*first, last + "</w>"]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        best, joined, k = min(known, key=ranks.get), [], 0
        while k < len(pieces):
            together = tuple(pieces[k : k + 2]) == best
            joined.append("".join(best) if together else pieces[k])
            k += 1 + together
        pieces = joined
    return tuple(pieces)


@cache
def clip_tokens(text: str) -> tuple[str, ...] | None:
    """All tokens of a text between its start and its end, uncut; None where open_clip is not installed."""
    if _ranks() is None:
        return None
    import ftfy
    import regex

    clean = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    return tuple(piece for word in regex.findall(_WORDS, clean, regex.IGNORECASE) for piece in _pieces(word))


def why_cut(text: str) -> str | None:
    """Why a CLIP would not read a text to its end; None where it does, or where that cannot be told."""
    tokens = clip_tokens(text) or ()
    if MARKS[1] in tokens:
        return f"CLIP reads it to its mark {MARKS[1]} only"
    if len(tokens) + 2 > CLIP_CONTEXT:
        return (
            f"{len(tokens) + 2} tokens of CLIP's with start and end, which reads {CLIP_CONTEXT}: the rest would be cut"
        )
    return None
