"""From a configuration to a pipeline: the model loaded, its recipe applied."""

from __future__ import annotations

import inspect

import torch

from suite.catalogue.recipes import Optimization
from suite.configurations import Configuration
from suite.models.pipeline import Pipeline
from suite.names import resolve
from suite.optimizations.arithmetic.precision import cast_to


def build(configuration: Configuration, weights: str, device: torch.device) -> Pipeline:
    """The configuration's pipeline, its recipe applied."""
    return apply_recipe(configuration.optimization, load(configuration, weights, device), device)


def load(configuration: Configuration, weights: str, device: torch.device) -> Pipeline:
    """Random networks in the type that the recipe casts to, where their builder can: a float32 copy beside them would
    be taken for the recipe's own memory. Others are loaded as they are published, and cast."""
    builder = resolve(configuration.model.builder)
    dtype = cast_to(configuration.optimization)
    in_type = weights == "random" and dtype is not None and "dtype" in inspect.signature(builder).parameters
    made = builder(weights, device, dtype=dtype) if in_type else builder(weights, device)
    if not isinstance(made, Pipeline):
        name = f"{Pipeline.__module__}.{Pipeline.__name__}"
        raise TypeError(f"{configuration.model.builder} made a {type(made).__name__}, which is no subclass of {name}")
    return made


def apply_recipe(optimization: Optimization, pipeline: Pipeline, device: torch.device) -> Pipeline:
    for technique in optimization.techniques:
        pipeline = resolve(technique.apply)(pipeline, device, **technique.parameters)
    return pipeline
