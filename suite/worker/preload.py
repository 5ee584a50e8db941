"""Imported once by the fork server, so that workers start with torch in memory. A session's models come beside it."""

import safetensors.torch  # noqa: F401 - what reads embedded weights: a module, and no model's memory
import scipy.special  # noqa: F401 - of intervals

import suite.metrics.scoring  # noqa: F401
import suite.worker.process  # noqa: F401
