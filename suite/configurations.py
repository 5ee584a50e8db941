"""The matrix: models × optimizations × devices, with ids, marks and what is unsupported and why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from suite.catalogue.devices import DEVICES, Device, find_device
from suite.catalogue.extensions import extensions
from suite.catalogue.models import MODELS, Model, find_model
from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE, find_optimization
from suite.catalogue.recipes import ORIGINAL, Optimization
from suite.judging.baselines import Unit
from suite.judging.budgets import FOLDER as BUDGETS
from suite.judging.budgets import MalformedBudgets, load_budgets
from suite.names import UnknownName as UnknownName  # what `find` raises, for those who ask it
from suite.names import listed, shortened, unknown
from suite.records import Budget

extensions()  # before anything is looked up


@dataclass(frozen=True)
class Configuration:
    model: Model
    optimization: Optimization
    device: Device

    @property
    def recipe(self) -> str:
        """Its name without the device: the key of its budgets."""
        return f"{self.model.name}/{self.optimization.name}"

    @property
    def id(self) -> str:
        return f"{self.recipe}@{self.device.name}"

    @property
    def slug(self) -> str:
        """Its id as a file name."""
        return self.id.replace("/", "--")

    @property
    def is_reference(self) -> bool:
        return self.optimization.name == REFERENCE

    @property
    def reference(self) -> Configuration:
        return Configuration(self.model, OPTIMIZATIONS[REFERENCE], self.device)

    @property
    def output(self) -> str:
        """What it is timed to deliver, and how many of its points a network made where the others are copies."""
        counts = [self.model.points_without.get(stage) for stage in sorted(self.optimization.leaves_out)]
        made = min((count for count in counts if count is not None), default=None)
        return self.model.output if made is None else f"{self.model.output}, {made:,} of them generated"

    @property
    def latency_unit(self) -> Unit:
        """What its latency is divided by before it is compared with another session's, as for the budgets."""
        if not self.device.limits_travel:
            return "second"
        return "canary" if self.is_reference else "reference"

    @property
    def original(self) -> Configuration:
        """The same model by its authors' own code, where there is any."""
        return Configuration(self.model, OPTIMIZATIONS[ORIGINAL], self.device)

    @property
    def unsupported(self) -> str | None:
        """Why this device cannot run this recipe, or None."""
        return self.optimization.why_unsupported(self.device)

    @property
    def is_extension(self) -> bool:
        """Whether a part of it came from another package: it runs when it is named or marked, and needs no budgets."""
        return any(extensions().has(part) for part in (self.model, self.optimization, self.device))

    @property
    def in_matrix(self) -> bool:
        """Whether a session runs it that does not name it. A composed recipe is in it where it is a smoke cell."""
        listed = self.optimization.name in OPTIMIZATIONS and self.optimization.in_matrix(self.device)
        return listed or self.optimization.name in self.model.smoke

    @property
    def in_smoke(self) -> bool:
        """Whether plain `pytest` runs it."""
        return self.optimization.name in self.model.smoke and not self.is_extension

    @property
    def marks(self) -> tuple[str, ...]:
        """pytest marks: device, family, techniques, and the runs it belongs to."""
        techniques = [technique.name for technique in self.optimization.techniques] or ["reference"]
        runs = ["extension"] if self.is_extension else ["nightly"] + (["smoke"] if self.in_smoke else [])
        size = ["fullsize"] if self.model.full_size else []
        return tuple(dict.fromkeys([self.device.name, self.model.family, *size, *techniques, *runs]))

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        path = BUDGETS / f"{self.device.name}.toml"
        if self.is_extension and not path.exists():
            return ()
        entries = _budgets(self.device.name)
        if self.recipe not in entries and (self.is_extension or not self.in_matrix):
            return ()  # another's, or only asked for by name: what nobody measured in three sessions has no limit
        if self.recipe not in entries:
            raise MalformedBudgets(
                f'{path}: no entry ["{self.recipe}"]; every configuration needs one: '
                f"`python -m suite.budgets propose --device {self.device.name}` writes it "
                "(measured, or unset with the reason)"
            )
        return entries[self.recipe]

    @property
    def command(self) -> str:
        """What repeats this one cell."""
        return f'pytest "suite/test_configurations.py::test_configuration[{self.id}]"'


@cache
def _budgets(device: str) -> dict[str, tuple[Budget, ...]]:
    path = BUDGETS / f"{device}.toml"
    entries = load_budgets(path)
    recipes = {configuration.recipe for configuration in matrix()}
    for name in entries:
        if name not in recipes and not _runs_by_name(f"{name}@{device}"):
            raise MalformedBudgets(f"{path}: {unknown('configuration', name, recipes)}")
    return entries


def _runs_by_name(identifier: str) -> bool:
    try:
        find(identifier)
    except UnknownName:
        return False
    return True


@lru_cache(maxsize=1)
def matrix() -> tuple[Configuration, ...]:
    """Every configuration but those that run only when they are named, as most composed ones do.

    A model's reference and its original come first on each device: ratios are taken to them.
    """
    first = (REFERENCE, ORIGINAL)
    listed = sorted(OPTIMIZATIONS.values(), key=lambda o: first.index(o.name) if o.name in first else len(first))
    cells = []
    for device in DEVICES.values():
        for model in MODELS.values():
            smoke = () if extensions().has(model) else model.smoke
            composed = [find_optimization(name) for name in smoke if name not in OPTIMIZATIONS]
            cells += [Configuration(model, optimization, device) for optimization in [*listed, *composed]]
    return tuple(cell for cell in cells if cell.in_matrix)


def find(identifier: str) -> Configuration:
    """The configuration of an id, `model/optimization@device`."""
    recipe, at, device = identifier.partition("@")
    model, slash, optimization = recipe.partition("/")
    if not at or not slash:
        raise UnknownName(
            f"unknown configuration {shortened(identifier)!r}; write MODEL/OPTIMIZATION@DEVICE, "
            f"such as {matrix()[0].id}; "
            f"models: {listed(MODELS)}; devices: {listed(DEVICES)}"
        )
    return Configuration(find_model(model), find_optimization(optimization), find_device(device))


def all_marks() -> list[str]:
    techniques = {technique.name for optimization in OPTIMIZATIONS.values() for technique in optimization.techniques}
    return sorted({mark for configuration in matrix() for mark in configuration.marks} | techniques | {"fullsize"})
