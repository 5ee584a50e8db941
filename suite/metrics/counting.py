"""Arithmetic and traffic of torch code, counted operation by operation.

Counted are matrix products, convolutions and attention: at these networks' sizes over 99 % of the arithmetic. A
multiplication and an addition are two. Each of them reads its inputs (weights, too) and writes its output once; what
lies between them, and inside attention, could be fused with them and counts as no traffic.

torch's own counter (`torch.utils.flop_counter`) sees neither attention's kernel for the processor nor the fused path of
`nn.MultiheadAttention`, which CLIP takes, nor quantized layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
INTEGERS = "int8"


@dataclass
class Count:
    """What a piece of code did: floating-point operations by type of arithmetic, and bytes in and out."""

    flops: Counter[str] = field(default_factory=Counter)
    bytes_moved: int = 0

    def add(self, kind: str, flops: int, bytes_moved: int) -> None:
        self.flops[kind] += flops
        self.bytes_moved += bytes_moved

    def __sub__(self, other: Count) -> Count:
        flops = {kind: count - other.flops[kind] for kind, count in self.flops.items()}
        return Count(Counter(flops), self.bytes_moved - other.bytes_moved)

    @property
    def total_flops(self) -> int:
        return sum(self.flops.values())


class Counting(TorchDispatchMode):
    """Within it, `count` grows with every operation. Use it under inference_mode, as the pipelines run: with gradients
    torch takes attention apart before anyone can count it as one."""

    def __init__(self, count: Count | None = None):
        super().__init__()
        self.count = Count() if count is None else count

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler at the first operation, 2 s a worker, to keep it out of here."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        counter = COUNTERS.get(func._overloadpacket)
        if counter is None and func is not torch.ops.prim.device.default:
            with self:  # an operation made of others is counted by them
                out = _taken_apart(func, args, kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if counter is not None:
            self.count.add(*counter(out, *args, **kwargs))
        return out


def _taken_apart(func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> object:
    """By torch's compiled code. `func.decompose` prefers the same in Python, which imports 2 s of symbolic algebra."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    if not torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key):
        return NotImplemented
    return func._op_dk(key, *args, **kwargs)


def _bytes(*values: object) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def _kind(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _product(out: Tensor, a: Tensor, b: Tensor) -> tuple[str, int, int]:
    return _kind(a), 2 * out.numel() * a.shape[-1], _bytes(out, a, b)


def _product_plus(out: Tensor, added: Tensor, a: Tensor, b: Tensor, **scales: object) -> tuple[str, int, int]:
    kind, flops, moved = _product(out, a, b)
    return kind, flops, moved + _bytes(added)


def _linear(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *after: object) -> tuple[str, int, int]:
    return _kind(x), 2 * out.numel() * x.shape[-1], _bytes(out, x, weight, bias)


def _quantized_linear(out: Tensor, x: Tensor, packed: object, *settings: object) -> tuple[str, int, int]:
    inner, outer = x.shape[-1], out.shape[-1]
    return INTEGERS, 2 * out.numel() * inner, _bytes(out, x) + inner * outer  # a weight is a byte


def _convolution(
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride,
    padding,
    dilation,
    transposed: bool,
    *rest: object,
) -> tuple[str, int, int]:
    places = prod((x if transposed else out).shape[2:])
    flops = 2 * places * x.shape[0] * weight.numel()
    return _kind(x), flops, _bytes(out, x, weight, bias)


def _attention(
    out: object, query: Tensor, key: Tensor, value: Tensor, *rest: object, **settings: object
) -> tuple[str, int, int]:
    """Scores and their mixing. A causal mask halves nothing, since the kernels here compute what it hides, and is no
    traffic, since it could be told from the position."""
    mixed = out if isinstance(out, Tensor) else out[0]
    rows, keys = query.numel() // query.shape[-1], key.shape[-2]
    flops = 2 * rows * keys * (query.shape[-1] + value.shape[-1])
    return _kind(query), flops, _bytes(mixed, query, key, value)


def _multihead_attention(
    out: tuple,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    *rest: object,
    **settings: object,
) -> tuple[str, int, int]:
    """nn.MultiheadAttention's fused path: a projection into query, key and value, attention, a projection."""
    batch, tokens = query.shape[:2]
    flops = 2 * batch * tokens * 4 * width**2 + 4 * batch * tokens**2 * width
    # The projection in hands on 3 widths to attention, which hands on one: each written and read.
    between = 2 * (3 + 1) * batch * tokens * width * query.element_size()
    return _kind(query), flops, _bytes(query, out[0], in_weight, in_bias, out_weight, out_bias) + between


COUNTERS: dict[object, Callable[..., tuple[str, int, int]]] = {
    aten.mm: _product,
    aten._int_mm: _product,
    aten.bmm: _product,
    aten.addmm: _product_plus,
    aten.baddbmm: _product_plus,
    aten.linear: _linear,
    aten.convolution: _convolution,
    aten.scaled_dot_product_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten._native_multi_head_attention: _multihead_attention,
    torch.ops.quantized.linear_dynamic: _quantized_linear,
}
ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # private to torch, so perhaps absent
if ONEDNN is not None:
    COUNTERS[ONEDNN] = _linear


def counted(call: Callable[[], object]) -> Count:
    """What one call does."""
    with torch.inference_mode(), Counting() as counting:
        call()
    return counting.count
