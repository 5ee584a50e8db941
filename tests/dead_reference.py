"""A pytest plugin for inner sessions (`-p tests.dead_reference`): the reference's worker kills itself."""

import os
import signal
from dataclasses import replace

from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.catalogue.recipes import Technique

OPTIMIZATIONS[REFERENCE] = replace(
    OPTIMIZATIONS[REFERENCE], techniques=(Technique("dies", "tests.dead_reference:die"),)
)


def die(pipeline, device):
    os.kill(os.getpid(), signal.SIGSEGV)
