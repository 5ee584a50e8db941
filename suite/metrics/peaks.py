"""The peaks of the machine that a cell runs on: its fastest matrix products and copies, measured just then."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable

import torch

from suite.metrics.counting import INTEGERS, ONEDNN
from suite.records import MachinePeak

# Sides of the squares that are multiplied. Small ones are for a type without instructions: torch's loops took 2 s for
# 1024 rows of bfloat16 on a Zen 3.
SMALLEST, LARGEST = 256, 8192
LONG_ENOUGH_S = 0.005  # of one product, for the clock and a GPU's launch to be nothing beside it
ROUNDS_S, MIN_ROUNDS = 0.1, 4
COPY_BYTES = 128 * 2**20  # beyond the caches that a few cores or a GPU can hold it in


def machine_peak(device: torch.device, synchronize: Callable[[], None], kinds: Iterable[str]) -> MachinePeak:
    """The best of some rounds of a square matrix product of each type of arithmetic, and of a large copy."""
    return MachinePeak(
        flops_per_s={kind: _product_rate(kind, device, synchronize) for kind in sorted(kinds)},
        bytes_per_s=_copy_rate(device, synchronize),
    )


@torch.inference_mode()
def _product_rate(kind: str, device: torch.device, synchronize: Callable[[], None]) -> float:
    """Of the best library here: torch's own for float32 on a processor (MKL) is not the fastest on every make."""
    return max(_rate(make, device, synchronize) for make in _products(kind, device))


def _rate(
    make: Callable[[int, torch.device], Callable[[], object]], device: torch.device, synchronize: Callable[[], None]
) -> float:
    side = SMALLEST
    while True:
        call = make(side, device)
        call()  # the first starts threads and picks a kernel
        seconds = _timed(call, synchronize)
        if seconds >= LONG_ENOUGH_S or side >= LARGEST:
            return 2 * side**3 / min(seconds, _best(call, synchronize))
        side *= 2


def _products(kind: str, device: torch.device) -> list[Callable[[int, torch.device], Callable[[], object]]]:
    """Ways to multiply squares of this type of arithmetic."""

    def quantized(side: int, device: torch.device) -> Callable[[], object]:
        with warnings.catch_warnings():  # that it moves to torchao
            warnings.simplefilter("ignore")
            layer = torch.ao.nn.quantized.dynamic.Linear(side, side)  # as the recipes have it
        x = torch.randn(side, side)
        return lambda: layer(x)

    def plain(side: int, device: torch.device) -> Callable[[], object]:
        x = torch.randn(side, side, device=device).to(getattr(torch, kind))
        return lambda: x @ x

    def transposed(side: int, device: torch.device) -> Callable[[], object]:
        x = torch.randn(side, side, device=device).to(getattr(torch, kind))
        return lambda: torch.nn.functional.linear(x, x)  # rows by rows, as layers have it: other loops than `@`

    def onednn(side: int, device: torch.device) -> Callable[[], object]:
        x = torch.randn(side, side)
        return lambda: ONEDNN(x, x, None, "none", [], "")

    if kind == INTEGERS:
        return [quantized]
    here = ONEDNN is not None and torch.backends.mkldnn.is_available() and torch.empty(0, device=device).is_cpu
    return [plain, onednn if here and kind == "float32" else transposed]


@torch.inference_mode()
def _copy_rate(device: torch.device, synchronize: Callable[[], None]) -> float:
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * COPY_BYTES / _best(lambda: target.copy_(source), synchronize)  # read and written


def _best(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    best, rounds, started = float("inf"), 0, time.perf_counter()
    while rounds < MIN_ROUNDS or time.perf_counter() - started < ROUNDS_S:
        best = min(best, _timed(call, synchronize))
        rounds += 1
    return best


def _timed(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    synchronize()
    started = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - started
