"""A pytest plugin for inner sessions (`-p tests.stand_in_original`): `original` is a recipe that runs on any model."""

from dataclasses import replace

from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.catalogue.recipes import ORIGINAL

OPTIMIZATIONS[ORIGINAL] = replace(OPTIMIZATIONS["steps-8"], name=ORIGINAL)
