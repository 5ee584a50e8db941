"""Networks at full size: built without memory, then filled in place by official weights or by seeded noise.

Noise on every parameter: the originals start with a silent output layer, and a network that says 0 whatever it is
asked would hide half of what can go wrong. Nothing is allocated twice: not on the CPU before the device, and not in
float32 before a narrower type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.layout import misfits

KINDS = ("official", "random")


@dataclass
class FullSizeWeights:
    """Where a pipeline's networks get their parameters from, and what these were."""

    kind: str
    device: torch.device
    dtype: torch.dtype = torch.float32
    seed: int = 0
    digests: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"full-size models have {' or '.join(KINDS)} weights, not {self.kind!r}")

    def network(
        self,
        name: str,
        make: Callable[[], nn.Module],
        *,
        dtype: torch.dtype | None = None,
        buffers: Mapping[str, Tensor] | None = None,
        prefix: str = "",
        strict: bool = True,
    ) -> nn.Module:
        """The network that `make` builds, on the device, for inference.

        name: the checkpoint, for `load_official`. prefix: of the checkpoint's keys that are this network's.
        buffers: those that no checkpoint holds. strict: whether the checkpoint may hold nothing else.
        """
        dtype = dtype or self.dtype
        if self.kind == "random":
            network = random_network(make, self.device, dtype, seed=self.seed, buffers=buffers)
            self.digests.append(random_digest(name, network, self.seed))
        else:
            from suite.models.checkpoints.official import load_official

            state, digest = load_official(name)
            state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            network = loaded_network(
                make, state, self.device, dtype, buffers=buffers, strict=strict, name=f"the weights of {name}"
            )
            self.digests.append(digest)
        return network.eval().requires_grad_(False)

    @property
    def sha256(self) -> str:
        """Of all that was built so far."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()


def random_network(
    make: Callable[[], nn.Module],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
    buffers: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Made on the meta device, given memory where and in the type it is used in, and filled there."""
    network = empty_network(make, device, dtype)
    set_buffers(network, buffers or {}, device)
    fill_with_noise(network, seed)
    return network


def loaded_network(
    make: Callable[[], nn.Module],
    state: Mapping[str, Tensor],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    buffers: Mapping[str, Tensor] | None = None,
    strict: bool = True,
    name: str = "these weights",
) -> nn.Module:
    """Made on the meta device; its tensors become those of the state.

    name: of the checkpoint, for the WeightsError that says which keys or shapes do not fit.
    """
    with torch.device("meta"):
        network = make()
    if wrong := misfits(network.state_dict(), state, strict):
        raise WeightsError(f"{name} do not fit {type(network).__name__}: {wrong}")
    network.load_state_dict(state, strict=False, assign=True)
    set_buffers(network, buffers or {}, torch.device("cpu"))
    return network.to(device=device, dtype=dtype)


def empty_network(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A network whose parameters have memory and no values yet."""
    with torch.device("meta"):
        network = make()
    return network.to(dtype).to_empty(device=device)


def set_buffers(network: nn.Module, buffers: Mapping[str, Tensor], device: torch.device) -> None:
    for name, value in buffers.items():
        path, _, attribute = name.rpartition(".")
        owner = network.get_submodule(path)
        if attribute not in owner._buffers:
            raise ValueError(f"{type(network).__name__} has no buffer {name}")
        setattr(owner, attribute, value.to(device))


@torch.no_grad()
def fill_with_noise(network: nn.Module, seed: int) -> None:
    """Seeded noise on every parameter, of sizes that keep activations near unit variance. The same on the same kind of
    device for the same names and shapes, whatever the module's class."""
    norms = {id(p) for m in network.modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm)) for p in [m.weight]}
    generators: dict[torch.device, torch.Generator] = {}
    for _, parameter in sorted(network.named_parameters()):
        device = parameter.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        parameter.normal_(generator=generators[device])
        if parameter.ndim >= 2:
            parameter.mul_((parameter.numel() // parameter.shape[0]) ** -0.5)
        else:
            parameter.mul_(0.3)
            if id(parameter) in norms:
                parameter.add_(1.0)


def random_digest(name: str, network: nn.Module, seed: int) -> str:
    """What tells one such filling from another: seed, names and shapes; not its type, which is a recipe's choice."""
    shapes = [f"{key}{tuple(value.shape)}" for key, value in sorted(network.named_parameters())]
    return hashlib.sha256("\0".join(["random", str(seed), name, *shapes]).encode()).hexdigest()
