"""A network's forward in a faster form, for techniques that change how it is called and none of its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from suite.catalogue.recipes import UnsupportedRecipe

Function = Callable[..., Any]


class Forward:
    """The fast form, or the eager one where something looks at each operation: arithmetic is counted by the latter."""

    def __init__(self, eager: Function, fast: Function):
        self.eager, self.fast = eager, fast

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        function = self.fast if _get_current_dispatch_mode() is None else self.eager
        return function(*arguments, **named)


ONCE = "context"  # what a network computes once an object, where it has such a part


def replace_forward(network: nn.Module, faster: Callable[[Function], Function]) -> None:
    """In place, and what it computes once an object too. The methods and not the module, so that what is put around
    `forward` to time it stays outside.

    UnsupportedRecipe for a network that another library runs: a capture of it would be empty.
    """
    refuse_outside(network)
    for name in ("forward", ONCE) if hasattr(network, ONCE) else ("forward",):
        setattr(network, name, Forward(getattr(network, name), faster(getattr(network, name))))


def refuse_outside(network: nn.Module) -> None:
    """UnsupportedRecipe for a network that another library runs."""
    if getattr(network, "outside_torch", False):
        raise UnsupportedRecipe(
            f"{type(network).__name__} is run outside torch, which can neither compile nor capture it"
        )
