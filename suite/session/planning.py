"""What a session would do with one configuration: a plan, worked out once, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from suite.configurations import Configuration
from suite.devices.backend import Board, board_of
from suite.judging.borrowing import Committed
from suite.judging.stopping import Stopping
from suite.models.checkpoints import official
from suite.models.checkpoints.embedded import WeightsError
from suite.names import UnknownName
from suite.prompts import find_judging, load_prompts, why_unreadable
from suite.records import Status
from suite.session.options import FULL_PROMPTS, SessionOptions
from suite.worker.job import Job


@dataclass(frozen=True)
class Plan:
    """A cell that can run here, as this session would run it."""

    configuration: Configuration
    board: Board
    weights: str  # the kind that it takes
    prompts: int  # scored; 0: none
    extrapolated: bool  # its latency is told from a few evaluations
    unread: str | None  # why its model or the judge cannot read the prompts; then it is not run
    options: SessionOptions

    @property
    def smoke(self) -> bool:
        """Whether it is less than a full run. With random weights there is nothing to score, so none is."""
        return self.prompts < FULL_PROMPTS and self.weights != "random"

    @property
    def unsupported(self) -> str | None:
        """Why it is not run, by the device, or for this session by its prompts."""
        return self.configuration.unsupported or self.unread

    def reference(self) -> Plan:
        """Its reference's latency, without quality: for a session that has not the reference's own cell."""
        return replace(self, configuration=self.configuration.reference, prompts=0, unread=None)

    def _stopping(self, reference: Committed | None) -> Stopping | None:
        asked = self.options.stopping
        if asked is None or self.configuration.is_reference:
            return asked
        return replace(asked, reference=reference)

    def without_quality(self) -> Plan:
        return replace(self, prompts=0)

    def job(self, artefacts: Path, committed: Committed | None = None, reference: Committed | None = None) -> Job:
        """What a worker is asked. artefacts: the session's folder of pictures. committed: outcomes that may stand for
        prompts that are not scored. reference: outcomes of its reference, where scoring ends when it knows."""
        return Job(
            configuration=self.configuration,
            weights=self.weights,
            quality_prompts=self.prompts,
            samples=self.options.samples,
            time_budget_s=self.options.time_budget_s,
            extrapolate=self.extrapolated,
            extra_stages=not self.options.default_smoke,
            artefacts=artefacts if self.prompts else None,
            prompts=self.options.prompts,
            judge=self.options.judge,
            committed=committed if self.prompts else None,
            stopping=self._stopping(reference) if self.prompts else None,
        )


@dataclass(frozen=True)
class Absent:
    """A configuration that cannot run here, before anything is started."""

    configuration: Configuration
    board: str | None
    weights: str | None
    status: Status
    reason: str


def plan(configuration: Configuration, options: SessionOptions) -> Plan | Absent:
    """Board, weights, prompts and the kind of latency of a configuration in this session."""
    weights, board = weights_of(configuration, options), board_of(configuration.device.name)

    def absent(status: Status, reason: str) -> Absent:
        return Absent(configuration, board.id if isinstance(board, Board) else None, weights, status, reason)

    if not isinstance(board, Board):
        return absent(Status.NOT_HERE, board)
    try:
        reason = _why_no_weights(configuration, weights, options)
        scored = 0 if reason is not None else _scored(configuration, weights, options)
    except UnknownName as error:  # of another's model: ours are tried in the tests
        return absent(Status.CRASHED, f"{configuration.model.name}: {error}")
    if reason is not None:
        return absent(Status.NEEDS_WEIGHTS, reason)
    name = configuration.model.prompts
    return Plan(
        configuration=configuration,
        board=board,
        weights=weights,
        prompts=scored,
        extrapolated=extrapolates(configuration, weights, options),
        unread=why_unreadable(name, options.judge, options.prompts, configuration.model) if scored else None,
        options=options,
    )


def weights_of(configuration: Configuration, options: SessionOptions) -> str | None:
    """The kind of weights that this session takes for a model; None where it has no such kind."""
    kinds = configuration.model.weights
    return kinds[0] if options.weights == "auto" else options.weights if options.weights in kinds else None


def extrapolates(configuration: Configuration, weights: str | None, options: SessionOptions) -> bool:
    """Whether its latency is told from a few evaluations: by default where an object takes hours and is of no use."""
    if configuration.optimization.simulated:
        return False
    useless = configuration.model.full_size and weights == "random"
    automatic = options.extrapolate == "auto" and configuration.device.extrapolates and useless
    return options.extrapolate == "always" or automatic


def _why_no_weights(configuration: Configuration, weights: str | None, options: SessionOptions) -> str | None:
    model = configuration.model
    if weights is None:
        return f"{model.name} has no {options.weights} weights; it has: {', '.join(model.weights)}"
    if weights == "official" and model.name in official.MODEL_FILES:
        if (reason := official.why_absent(model.name)) is not None:
            return reason
    if configuration.optimization.simulated and weights == "random":
        return f"{model.name}: a simulated recipe has nothing but a quality, and random weights have none"
    if options.quality_prompts and weights != "random":
        try:
            find_judging(model.prompts, options.judge, options.prompts)
        except WeightsError as error:
            return str(error)
    return None


def _scored(configuration: Configuration, weights: str, options: SessionOptions) -> int:
    """How many prompts: no more than there are, and none with random weights, which make nothing."""
    if not options.quality_prompts or weights == "random":
        return 0
    return min(options.quality_prompts, len(load_prompts(configuration.model.prompts, options.prompts).prompts))
