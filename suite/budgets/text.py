"""Budgets as lines of TOML: a line a budget, or one for a whole entry that is unset for one reason."""

from __future__ import annotations

import json
from collections.abc import Sequence

from suite.records import Budget


def lines_of(recipe: str, budgets: Sequence[Budget]) -> list[str]:
    """What `suite.judging.budgets.load_budgets` reads as these budgets of "model/optimization"."""
    reasons = {budget.reason for budget in budgets if budget.source == "unset"}
    if len(reasons) == 1 and all(budget.source == "unset" for budget in budgets):
        kinds = ", ".join(_text(budget.name) for budget in budgets)
        return [f"{_text(recipe)} = {{ unset = [{kinds}], reason = {_text(reasons.pop())} }}"]
    return [f"{_text(recipe)}.{budget.name} = {{ {', '.join(_fields(budget))} }}" for budget in budgets]


def _fields(budget: Budget) -> list[str]:
    said = {
        "limit": None if budget.limit is None else _number(budget.limit),
        "expect": None if budget.expect is None else _text(budget.expect.value),
        "canary_s": None if budget.canary_s is None else _number(budget.canary_s),
        "source": _text(budget.source),
        "reason": _text(budget.reason),
    }
    return [f"{key} = {value}" for key, value in said.items() if value is not None]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _text(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)  # TOML's basic strings escape as JSON's do
