"""What a file is where it is not what it should be, told by its first bytes. Without torch."""

from __future__ import annotations

from pathlib import Path

LOOKED_AT_BYTES, SHOWN_CHARACTERS = 512, 40
AGAIN = "fetch it again"
PAGES = ("<!doctype", "<html", "<head", "<body", "<script", "<?xml", "<!--")
KINDS = {
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"Rar!": "a RAR file",
    b"%PDF": "a PDF file",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"GGUF": "a GGUF file",
    b"\x7fELF": "a program",
}


def why_foreign(path: Path, wanted: str = "weights", plain_text: bool = False) -> str | None:
    """What the file is instead of what is wanted, and what to do; None where its first bytes do not tell.

    plain_text: whether what is wanted is text itself, so that only web pages and the like are foreign.
    """
    with open(path, "rb") as file:
        begin = file.read(LOOKED_AT_BYTES)
    if not begin:
        return f"is empty; {AGAIN}"
    if not begin.strip(b"\0"):
        return f"begins with nothing but zeros: a download that was never filled? {AGAIN}"
    for magic, kind in KINDS.items():
        if begin.startswith(magic):
            return f"is {kind}, not {wanted}; {AGAIN}"
    text = _text(begin)
    return None if text is None else _of_text(text.strip().lstrip("\ufeff").lstrip(), wanted, plain_text)


def _text(begin: bytes) -> str | None:
    """The bytes as text, if they are text."""
    wide = begin.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in begin and not wide:
        return None
    text = begin.decode("utf-16" if wide else "utf-8", errors="replace")
    readable = sum(letter.isprintable() or letter.isspace() for letter in text.replace("\ufffd", "\0"))
    return text if readable > 0.9 * len(text) else None


def _of_text(text: str, wanted: str, plain_text: bool) -> str | None:
    words = " ".join(text.split())[:SHOWN_CHARACTERS]
    shown = repr(words)
    if text.startswith("version https://git-lfs"):
        return f"is a Git LFS pointer, not the file that it points at: `git lfs pull`, or {AGAIN}"
    if text.lower().startswith(PAGES):
        tag = words[: words.index(">") + 1] if ">" in words else words
        return f"begins with {tag!r}: a web page, not {wanted}: a login or proxy page? {AGAIN}"
    if text.startswith(("{", "[")):
        return f"begins with {shown}: a server's answer in JSON, not {wanted}; {AGAIN}"
    return None if plain_text else f"begins with {shown}: text, not {wanted}; {AGAIN}"
