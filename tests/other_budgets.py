"""A pytest plugin for inner sessions: budgets from the folder in TEXT3D_TEST_BUDGETS."""

import os
from pathlib import Path

import suite.configurations

suite.configurations.BUDGETS = Path(os.environ["TEXT3D_TEST_BUDGETS"])
