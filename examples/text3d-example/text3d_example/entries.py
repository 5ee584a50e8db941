"""Three entries, one literal each. Without torch: what they name is imported where it runs."""

from suite.catalogue.devices import Device
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
