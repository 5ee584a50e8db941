"""A pytest plugin for inner sessions (`-p tests.stand_in_original`): `original` is a recipe that runs on any model."""

from dataclasses import replace

from suite.optimizations.catalogue import OPTIMIZATIONS
from suite.optimizations.composition import ORIGINAL

OPTIMIZATIONS[ORIGINAL] = replace(OPTIMIZATIONS["steps-8"], name=ORIGINAL)
