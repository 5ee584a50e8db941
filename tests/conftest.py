"""Fixtures of more than one file, and the manners of every process that a test starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before anything loads OpenMP, which reads these once. Its threads spin while they wait: beside a busy neighbour a test
# then takes up to twenty times as long. So they wait passively, and there is one a process: `make test` runs a process
# a core. Inner sessions, their fork servers and workers inherit it.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1", "TEXT3D_THREADS": "1"}
# An inner session is nobody's worker: pytest-benchmark would switch itself off in it.
for _name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
    del os.environ[_name]

import pytest  # noqa: E402
from huggingface_hub import constants as hub  # noqa: E402

from suite.models.checkpoints import official  # noqa: E402
from tests.left_out import pytest_deselected, pytest_terminal_summary, pytest_testnodedown  # noqa: E402, F401 - hooks

# Files of half a minute and more. Begun last, they would keep one process at work while the others have nothing left.
LONG = """optimizations extensions plugin confirm onnx_recipes techniques_int8 embedded_family nightly gpu_session noise
against_original first_look stopping site session_machine sampling""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)  # else as they are


@pytest.fixture(scope="session", autouse=True)
def _index_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Indexes of histories are kept apart from the user's, by inner processes as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT3D_INDEX", str(tmp_path_factory.mktemp("index")))
        yield


@pytest.fixture(scope="session")
def graph_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that is empty at first: a graph is made once a session, and nothing of the user's is read."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of weights and captions, no folder given beside it, and an empty Hugging Face cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(official.CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(official.GIVEN_VARIABLE, raising=False)
    return folder


@pytest.fixture
def no_emulated_bfloat16(monkeypatch) -> None:
    """Training in float32 where the processor has no arithmetic in bfloat16, which would take ten times as long."""
    import torch

    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    enter = torch.autocast.__enter__

    def enter_without(self):
        entered = enter(self)
        torch.set_autocast_enabled(self.device, False)  # until it is left, which restores what was before
        return entered

    monkeypatch.setattr(torch.autocast, "__enter__", enter_without)


@pytest.fixture
def own_budgets(tmp_path, monkeypatch):
    """An empty budgets folder in place of the project's, read by configurations and written by `propose`."""
    from suite import configurations

    monkeypatch.setattr(configurations, "BUDGETS", tmp_path)
    monkeypatch.setattr("suite.budgets.__main__.FOLDER", tmp_path)
    configurations._budgets.cache_clear()
    yield tmp_path
    configurations._budgets.cache_clear()
