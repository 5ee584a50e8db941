"""What a field of a record may hold: names that are safe as file names, times, and ranges that a measurement can have.

A history may come from anybody. A value outside these is refused by file and field when it is read, so that no row of
it leads a table, and no name of it leaves the folder that it is written to.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

FIRST_YEAR, LAST_YEAR = 2020, 2099  # before the first lies what a board without a clock battery believes
AHEAD = timedelta(days=1)  # more than time zones and slow clocks explain


def _utc(text: object) -> object:
    """An ISO 8601 time with its zone, as one wording in UTC: such texts sort as their times do."""
    if not isinstance(text, str):
        return text  # for pydantic to refuse
    try:
        time = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time of ISO 8601, like 2026-11-28T09:30:00+00:00") from None
    if time.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone; write +00:00 for UTC")
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is not between {FIRST_YEAR} and {LAST_YEAR}: that machine's clock was not set")
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def latest_believed() -> str:
    """As a `UtcTime`. A record's time beyond lies ahead of this machine's clock by more than zones and slow clocks
    explain."""
    return (datetime.now(timezone.utc) + AHEAD).isoformat(timespec="milliseconds")


def whole_text(text: str) -> str:
    """Any text as one that can be encoded: what is no character becomes a question mark."""
    return text.encode(errors="replace").decode()


UtcTime = Annotated[str, BeforeValidator(_utc)]
# Of a device, a board, a model, a session: each becomes a file's or a folder's name.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
RecipeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,299}$")]
ConfigurationId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9][A-Za-z0-9._-]*$"),
]
# Of a table that anybody may have made, shown on a page: no markup, no line end.
PlainName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f`\[\]<>|!]{1,400}$")]
# What a record says of its conditions, in the words of drivers and of git: any characters, so many at most.
ShortText = Annotated[str, StringConstraints(max_length=400)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
CleanText = Annotated[str, BeforeValidator(lambda text: whole_text(text) if isinstance(text, str) else text)]

Seconds = Annotated[float, Field(ge=0, le=1e9)]
LatencySeconds = Annotated[float, Field(ge=1e-6, le=1e9)]  # no network makes an object in less than a microsecond
Bytes = Annotated[int, Field(ge=0, le=2**50)]
PeakBytes = Annotated[int, Field(gt=0, le=2**50)]  # a gauge that shows nothing does not know: null
Count = Annotated[int, Field(ge=0, le=2**80)]
Place = Annotated[int, Field(ge=1, le=2**31)]  # in an order
Joules = Annotated[float, Field(gt=0, le=1e9)]
Ratio = Annotated[float, Field(gt=0, le=1e9)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
Cosine = Annotated[float, Field(ge=-2, le=2)]  # and differences of two


def within(low: float, high: float, ends: bool = True) -> AfterValidator:
    """Of an `Interval`: that its value lies in a range, and its ends too."""

    def check(interval):
        for name in ("value", "low", "high") if ends else ("value",):
            value = getattr(interval, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} {value:g} is not between {low:g} and {high:g}")
        return interval

    return AfterValidator(check)
