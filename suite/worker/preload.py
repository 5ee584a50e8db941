"""Imported once by the fork server, so that workers start with torch in memory. A session's models come beside it."""

import suite.metrics.scoring  # noqa: F401
import suite.worker.process  # noqa: F401
from suite.models.conditioning.clip import import_open_clip

import_open_clip()
