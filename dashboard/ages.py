"""How long ago something was measured, in words. Without streamlit."""

from __future__ import annotations

from datetime import datetime, timezone

from suite.fields import latest_believed

UNITS = (("year", 365), ("month", 30), ("week", 7), ("day", 1))  # days


def now() -> datetime:
    return datetime.now(timezone.utc)


def days_between(earlier: str, later: str) -> float:
    """Of two times as records have them; negative where the first one is the later."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() / 86400


def age(measured_at: str, at: datetime) -> str:
    """ "3 days ago", "today"; a time that is still to come is called that."""
    if measured_at > latest_believed():
        return f"dated {measured_at[:10]}, which is still to come"
    days = days_between(measured_at, at.isoformat())
    for unit, length in UNITS:
        if (count := int(days // length)) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "today"
