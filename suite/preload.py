"""Imported once by the fork server, so that every worker starts with torch and the models' code in memory."""

import suite.metrics.scoring  # noqa: F401
import suite.models.point_e  # noqa: F401
import suite.worker  # noqa: F401
from suite.models.clip import import_open_clip

import_open_clip()
