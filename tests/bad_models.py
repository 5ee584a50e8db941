"""Deliberately bad models and recipes, and the catalogue entries that name them.

Also a pytest plugin (`-p tests.bad_models`): adds the entries to the catalogues of an inner session.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from suite.catalogue.devices import DEVICES
from suite.catalogue.models import Model
from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.catalogue.recipes import Optimization, Technique, UnsupportedRecipe
from suite.configurations import Configuration
from suite.models.pipeline import Pipeline, untimed


class Bad(Pipeline):
    """A pipeline that does one thing when it is asked to generate."""

    model = "bad"
    weights_sha256 = None

    def __init__(self, deed):
        self.networks = {"only": torch.nn.Linear(1, 1)}
        self.deed = deed

    def generate(self, prompts, sample=0, stage=None):
        with stage("only"):
            self.deed()
        return torch.zeros(len(prompts), 8, 6)


def _raise():
    raise ValueError("this model is broken\nsecond line")


def crash(weights, device):
    return Bad(_raise)


def segfault(weights, device):
    return Bad(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def killed(weights, device):
    return Bad(lambda: os.kill(os.getpid(), signal.SIGKILL))


def quits(weights, device):
    return Bad(lambda: os._exit(7))


def orphaning(weights, device):
    """Leaves a child that holds the worker's pipe, and writes its number into the file that `weights` names."""

    def deed():
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        Path(weights).write_text(str(child))
        os.kill(os.getpid(), signal.SIGSEGV)

    return Bad(deed)


def undecodable(weights, device):
    def deed():
        raise ValueError("bad \udcff name")

    return Bad(deed)


def serverless(weights, device):
    def deed():
        os.kill(os.getppid(), signal.SIGKILL)  # the fork server
        time.sleep(0.5)
        os._exit(7)

    return Bad(deed)


def dies_loading(weights, device):
    os._exit(9)


def hang(weights, device):
    return Bad(lambda: time.sleep(3600))


def hungry(weights, device):
    return Bad(lambda: torch.empty(2**46, dtype=torch.uint8))


def late_crash(weights, device):
    """Goes well until quality is measured."""
    calls = []

    def deed():
        calls.append(None)
        time.sleep(0.01)

    pipeline = Bad(deed)
    inner = pipeline.generate

    def generate(prompts, sample=0, stage=None):
        if stage is None:
            raise ValueError("broken in the quality pass")
        return inner(prompts, sample, stage)

    pipeline.generate = generate
    return pipeline


def uncountable(weights, device):
    """Runs, but only at its own number of steps."""

    class Fixed(Bad):
        steps = property(lambda self: 64)

    return Fixed(lambda: time.sleep(0.01))


def not_finite(weights, device):
    """Makes clouds of 8 points, of which 5 are none."""
    pipeline = Bad(lambda: None)
    inner = pipeline.generate

    def generate(prompts, sample=0, stage=untimed):
        made = inner(prompts, sample, stage)
        made[:, :5, 0] = float("nan")
        return made

    pipeline.generate = generate
    return pipeline


def not_finite_views(weights, device):
    """Makes sound clouds, and pictures of which 2 in 4 hold a number that is none."""

    class Viewed(Bad):
        extra_stages = ("views",)

        def extra(self, name, prompts, stage=untimed):
            made = torch.zeros(1, 4, 3, 8, 8)
            made[:, :2, 0, 0, 0] = float("inf")
            with stage(name):
                return made

    return Viewed(lambda: None)


CRAWLING_S = 0.01  # an evaluation


def crawling(weights, device):
    """Takes its time for each of 127 evaluations."""

    class Network(torch.nn.Linear):
        def forward(self, x):
            time.sleep(CRAWLING_S)
            return super().forward(x)

    class Crawling(Bad):
        diffusion = ("only",)
        evaluations = 127
        stage_evaluations = {"only": 127}

        @torch.inference_mode()
        def generate(self, prompts, sample=0, stage=None):
            with stage("only"):
                for _ in range(self.evaluations):
                    self.networks["only"](torch.zeros(1, 64))
            return torch.zeros(len(prompts), 8, 6)

    pipeline = Crawling(None)
    pipeline.networks = {"only": Network(64, 64)}
    return pipeline


def typed(weights, device, dtype=torch.float32):
    """Can be built in another type."""
    pipeline = Bad(None)
    pipeline.dtype = dtype
    return pipeline


def refuse(pipeline, device):
    raise UnsupportedRecipe("this torch has no such engine")


def say_what_starting_took(pipe) -> None:
    """In a fresh worker: the processor's seconds that it took to come here. This module imports torch, as all do."""
    pipe.send(time.process_time())


def model(builder: str) -> Model:
    return Model(
        name=builder.replace("_", "-"),
        family="bad",
        builder=f"tests.bad_models:{builder}",
        conditioning="text",
        output="nothing",
        stages=("only",),
        prompts="embedded",
        weights=("embedded",),
        source="tests",
    )


REFUSED = Optimization(name="refused", techniques=(Technique("refused", "tests.bad_models:refuse"),), source="tests")


def configuration(builder: str, optimization: Optimization = OPTIMIZATIONS["fp32"]) -> Configuration:
    return Configuration(model(builder), optimization, DEVICES["cpu"])
