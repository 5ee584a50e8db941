"""Four entries, one literal each. Without torch: what they name is imported where it runs."""

from suite.catalogue.devices import Device
from suite.catalogue.judges import Judge
from suite.catalogue.models import Model
from suite.catalogue.recipes import Optimization, Technique

BALL = Model(
    name="ball-nano-text",
    family="ball",
    builder="text3d_example.ball:build",
    conditioning="text",
    output="point cloud of 1,024 points",
    stages=("colour", "ball"),
    prompts="embedded",
    weights=("embedded",),
    source="an example: every prompt becomes a ball in the first colour that it names",
)

HALF_POINTS = Optimization(
    name="half-points",
    techniques=(Technique("fewer-points", "text3d_example.ball:fewer_points", {"divisor": 2}),),
    source="an example: half as many points",
)

ORIN_NANO = Device(
    name="orin-nano",
    title="NVIDIA Jetson Orin Nano",
    kind="cuda",
    backend="suite.devices.jetson:Jetson",
    chip="Orin Nano",
    source="Jetson Orin Nano data sheet; not run on the real thing",
)

COLOURS = Judge(
    name="colours",
    builder="text3d_example.colours:build",
    reads=("embedded",),
    source="an example: how much of each colour that the caption names is in the pictures",
)

COLOURS_ELSEWHERE = Judge(
    name="colours-elsewhere",
    builder="text3d_example.colours:build",
    reads=("embedded",),
    python="COLOURS_PYTHON",  # a Python whose packages this judge needs
    source="an example: the same in an environment of its own",
)
