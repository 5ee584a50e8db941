"""A pytest plugin for inner sessions (`-p tests.no_disk`): the disk of the history has 50 MB left, for a check."""

import types

from suite.preflight import machine

machine.shutil = types.SimpleNamespace(disk_usage=lambda folder: types.SimpleNamespace(free=50 * 2**20))
