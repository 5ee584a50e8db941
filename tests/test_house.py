"""The house of the design: floors, forbidden imports, names, and a pytest process without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.house import (
    GROUND,
    HEAVY,
    PACKAGES,
    PICTURE,
    ROOT,
    WITHOUT_TORCH,
    all_modules,
    drawing,
    floor,
    imports,
    modules,
    room,
)


def test_every_module_of_the_suite_has_a_floor():
    homeless = [name for name, path in modules("suite").items() if path.name != "__init__.py" and floor(name) is None]
    assert homeless == []


def test_the_picture_in_the_documents_is_of_this_house():
    assert PICTURE.read_text(encoding="utf-8") == drawing(), "`python -m tests.house` draws it anew"


def test_imports_go_only_downwards_or_stay_in_the_room():
    wrong = []
    for name, path in modules("suite").items():
        for other in imports(path):
            if other.split(".")[0] in ("leaderboards", "dashboard", "tests"):
                wrong.append(f"{name} imports {other}")
            if other.split(".")[0] != "suite" or other == name or other not in all_modules():
                continue
            here, there = floor(name), floor(other)
            if path.name != "__init__.py" and modules("suite")[other].name != "__init__.py":
                if not (there < here or (there == here and room(name) == room(other))):
                    wrong.append(f"{name} (floor {here}) imports {other} (floor {there})")
    assert wrong == []


def test_there_is_no_circle_of_imports():
    graph = {
        name: {other for other in imports(path) if other in all_modules()}
        for package in PACKAGES
        for name, path in modules(package).items()
    }
    while leaves := {name for name, others in graph.items() if not others & graph.keys() - {name}}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert sorted(graph) == []


@cache
def reached(module: str, everywhere: bool) -> frozenset[str]:
    """All that importing a module imports, by and by."""
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        path = next((modules(package)[name] for package in PACKAGES if name in modules(package)), None)
        for other in imports(path, everywhere) if path else ():
            if other not in found:
                found.add(other)
                pending.append(other)
    return frozenset(found)


def tops(names) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", ["leaderboards", "dashboard"])
def test_leaderboards_and_dashboard_use_the_ground_floors_only(package):
    wrong = []
    for name, path in modules(package).items():
        for other in imports(path):
            if other.split(".")[0] == "suite":
                allowed = other.startswith(GROUND) or other == "suite"
                wrong += [] if allowed else [f"{name} imports {other}"]
            way_up = (name, other) == ("leaderboards.__main__", "dashboard.static.build")  # the command that draws it
            if other.split(".")[0] == "dashboard" and package == "leaderboards" and not way_up:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


@pytest.mark.parametrize("package", ["leaderboards", "dashboard"])
def test_leaderboards_and_dashboard_never_reach_torch_or_pytest(package):
    for name in modules(package):
        assert not tops(reached(name, True)) & {*HEAVY, "pytest", "pytest_benchmark"}, name


def test_catalogues_records_judging_configurations_and_history_never_reach_torch_or_pytest():
    light = [name for name in modules("suite") if room(name) in WITHOUT_TORCH]
    assert {room(name) for name in light} == set(WITHOUT_TORCH)
    for name in light:
        assert not tops(reached(name, True)) & {*HEAVY, "pytest", "pytest_benchmark"}, name


def test_only_the_top_floors_know_of_pytest():
    for name, path in modules("suite").items():
        if room(name) not in ("suite.session", "suite.plugin", "suite.test_configurations"):
            assert not tops(imports(path)) & {"pytest", "pytest_benchmark", "_pytest"}, name


def test_only_pages_and_the_app_import_streamlit():
    for name, path in modules("dashboard").items():
        if "streamlit" in tops(imports(path)):
            assert name == "dashboard.app" or name.startswith("dashboard.screens."), name
    for package in ("suite", "leaderboards"):
        assert not any("streamlit" in tops(imports(path)) for path in modules(package).values())


def test_package_init_files_are_empty():
    for package in PACKAGES:
        inits = [path for path in modules(package).values() if path.name == "__init__.py"]
        assert inits
        assert [str(path) for path in inits if path.read_text().strip()] == []


def test_every_folder_with_modules_is_a_package():
    for package in PACKAGES:
        for path in modules(package).values():
            assert (path.parent / "__init__.py").exists(), path


def test_no_module_and_no_package_shadows_the_standard_library():
    ours = {name.rpartition(".")[2] for name in all_modules()} | {path.stem for path in (ROOT / "tests").glob("*.py")}
    # `python -m suite.bisect` has git's word; no folder of the suite is on a path, so it hides nothing.
    assert ours & set(sys.stdlib_module_names) - {"__main__", "__init__", "bisect"} == set()


def test_a_devices_name_is_tested_nowhere_but_among_the_devices():
    from suite.catalogue.devices import DEVICES

    wrong = []
    for package in PACKAGES:
        for name, path in modules(package).items():
            if name.startswith("suite.devices"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare):
                    constants = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
                    if set(DEVICES) & {c for c in constants if isinstance(c, str)}:
                        wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
                if isinstance(node, ast.MatchValue) and ast.literal_eval(node.value) in DEVICES:
                    wrong.append(f"{name}:{node.value.lineno}: case {ast.unparse(node.value)}")
    assert wrong == []


def test_builders_backends_and_techniques_are_where_the_catalogues_say():
    from suite.catalogue.devices import DEVICES
    from suite.catalogue.models import MODELS
    from suite.catalogue.optimizations import OPTIMIZATIONS

    named = [model.builder for model in MODELS.values()] + [device.backend for device in DEVICES.values()]
    named += [device.launcher for device in DEVICES.values()]
    named += [technique.apply for recipe in OPTIMIZATIONS.values() for technique in recipe.techniques]
    for entry in named:
        module, attribute = entry.split(":")
        tree = ast.parse(modules("suite")[module].read_text())
        assert attribute in {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}, (
            entry
        )


TELLER = """
import sys
def pytest_unconfigure(config):
    heavy = ("torch", "diffusers", "open_clip", "torchvision", "streamlit", "pandas", "scipy")
    print("HEAVY:", sorted(name for name in heavy if name in sys.modules))
    print("SEEN:", "suite.plugin" in sys.modules, "suite.test_configurations" in sys.modules)
"""


def pytest_process(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    (tmp_path / "teller.py").write_text(TELLER)
    command = [sys.executable, "-m", "pytest", "-p", "teller", "-p", "no:cacheprovider", *arguments]
    environment = {**__import__("os").environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_collecting_the_matrix_leaves_torch_out_of_the_pytest_process(tmp_path):
    run = pytest_process(tmp_path, "--collect-only", "-q", "suite/test_configurations.py")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "test_configuration[point-e-nano-text/fp32@cpu]" in run.stdout
    assert "HEAVY: []" in run.stdout
    assert "SEEN: True True" in run.stdout


def test_running_cells_that_are_not_here_leaves_torch_out_of_the_pytest_process(tmp_path):
    from suite.devices.backend import Board
    from suite.plugin import board_of

    absent = [name for name in ("t4", "orin", "h100") if not isinstance(board_of(name), Board)]
    run = pytest_process(
        tmp_path, "-q", "-m", absent[0], "suite/test_configurations.py", f"--benchmark-storage={tmp_path}"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "HEAVY: []" in run.stdout and "skipped" in run.stdout
