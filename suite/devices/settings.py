"""What the environment says of threads, kernels and allocators: another setting makes other seconds and other bytes.

Small networks wait more than they compute: `distilled-2` scored 7.5 prompts a second with threads that wait passively
and 12.5 with threads that spin, on one machine within the hour. So these stand in the fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import PurePath

from suite.fields import whole_text

LENGTH = 400  # characters, as a record takes

# How many threads there are stands there already (`suite.devices.cpu.threads`).
THREADS = (  # https://gcc.gnu.org/onlinedocs/libgomp/Environment-Variables.html, and Intel's library of the same
    *("OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC", "OMP_SCHEDULE"),
    *("GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME", "KMP_AFFINITY", "KMP_LIBRARY"),
)
SPINS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # how long a thread without work spins
KERNELS = (  # which instructions and which roundings the libraries may take
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE"),
    *("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "OPENBLAS_CORETYPE"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING"),
)
ALLOCATORS = (
    *("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "PYTHONMALLOC"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "CUDA_MODULE_LOADING"),
)
PRELOADED = "LD_PRELOAD"  # jemalloc and the like
NAMES = (*THREADS, *KERNELS, *ALLOCATORS, PRELOADED)


def settings(environment: Mapping[str, str] = os.environ) -> str | None:
    """Those that are set, as `NAME=value` in the order of their names; None where none is. Of a preloaded library only
    the file's name: its folder is the machine's own business. What has no room is told by the hash of all of it."""
    found = [f"{name}={_value(name, environment[name])}" for name in sorted(NAMES) if environment.get(name, "").strip()]
    text = whole_text(" ".join(found))
    if len(text) > LENGTH:
        digest = f" sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        text = text[: LENGTH - len(digest)] + digest
    return text or None


def threads_rest(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether threads without work come to rest, and leave the processors to another process meanwhile."""
    policy, *spins = (_value(name, environment.get(name, "")) for name in ("OMP_WAIT_POLICY", *SPINS))
    return policy != "ACTIVE" and not any(spin.startswith("INFINIT") for spin in spins)


def _value(name: str, text: str) -> str:
    words = text.split()
    if name == PRELOADED:
        return ":".join(PurePath(path).name for path in text.replace(":", " ").split())
    return "_".join(words).upper() if name in THREADS else "_".join(words)  # OpenMP's know no case
