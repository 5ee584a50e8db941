"""What a worker finds out about its machine where nothing is measured: `look`, a task of `suite.worker.process`."""

from __future__ import annotations

import numpy as np
import torch

from suite.catalogue.devices import Device
from suite.devices.backend import backend_of
from suite.metrics.canary import Canary
from suite.worker.job import Answers

SIZE = 64
CANARY_ROUNDS = 22  # beside the nine that it begins with: a median that one disturbance does not move


def look(device: Device, kernel: bool, answers: Answers) -> None:
    """Send `numpy_bridge` and, if asked for, `kernel`: None where it works, else what went wrong; and
    `canary_samples_s`, of the processor."""
    answers.phase("trying torch's bridge to numpy")
    answers.part("numpy_bridge", why_no_bridge())
    if kernel:
        answers.phase(f"running a kernel on {device.name}")
        answers.part("kernel", why_no_kernel(device))
        return
    answers.phase("running the canary")
    backend_of(device).torch_device()  # sets the threads
    canary = Canary()
    canary.run(CANARY_ROUNDS)
    answers.part("canary_samples_s", canary.samples_s)


def why_no_bridge() -> str | None:
    """A torch that was built against another numpy imports well, and fails where an array is handed over."""
    try:
        if torch.from_numpy(np.arange(6.0)).sum().item() == 15.0 and torch.arange(6.0).numpy().sum() == 15.0:
            return None
        return f"torch {torch.__version__} reads numpy {np.__version__}'s arrays wrong"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return f"torch {torch.__version__} and numpy {np.__version__}: {type(error).__name__}: {error}"


def why_no_kernel(device: Device) -> str | None:
    """A wheel without this chip's code imports well, and fails at the first kernel; one may also be wrong."""
    try:
        place = backend_of(device).torch_device()
        whole = torch.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 13  # small whole numbers: exact in float32
        found = (whole.float().to(place) @ whole.float().to(place)).cpu()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    wrong = int((found != (whole @ whole).float()).sum())
    return f"{wrong} of {SIZE * SIZE} numbers of a matrix product are wrong" if wrong else None
