"""What the published networks cost, counted on torch's device `meta`: shapes without numbers, in float32.

python -m benchmarks.full_size_cost          # the table of docs/cost.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from suite.judging.roofline import floor_s
from suite.metrics.cost import count_parameters
from suite.metrics.counting import Count, counted
from suite.models.conditioning.clip import import_open_clip
from suite.models.conditioning.clip_large import CONTEXT_TOKENS, GRID_TOKENS, PICTURE_PX
from suite.models.point_e.network import CHANNELS, PUBLISHED, PointDiffusionTransformer
from suite.models.point_e.sdf import GRID, QUERY_POSITIONS, SdfNetwork
from suite.models.sampling.solvers import evaluations
from suite.models.shap_e.field import ask, object_weights
from suite.models.shap_e.full_size import PUBLISHED as SHAP_E
from suite.models.shap_e.full_size import RAY_SAMPLES, build_prior, build_renderer
from suite.models.shap_e.pipeline import QUERY_POINTS
from suite.records import MachinePeak

STEPS = 64
VIEW_RAYS = 20 * 64**2  # of an object's NeRF views, each a picture of 64 x 64
PEAK = MachinePeak(flops_per_s={"float32": 222e9}, bytes_per_s=33e9)
"""Of two threads of the AMD EPYC that the committed rows are from, as these recorded it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network on so many rows at once, asked so often for an object, and what it does besides, once an object."""

    name: str
    batch: int
    asked: int
    parameters: int
    evaluation: Count
    once: Count | None = None

    @property
    def object(self) -> Count:
        made = Count()
        for count, times in ((self.evaluation, self.asked), (self.once or Count(), 1)):
            for kind, flops in count.flops.items():
                made.flops[kind] += times * flops
            made.bytes_moved += times * count.bytes_moved
        return made

    @property
    def floor_s(self) -> float:
        return floor_s(self.object.flops, self.object.bytes_moved, PEAK)


POINT_E = [
    ("base40M-textvec", 2),
    ("base40M-imagevec", 2),
    ("base40M", 2),
    ("base300M", 2),
    ("base1B", 2),
    ("upsample", 1),
    ("upsample", 2),
]
"""A batch of 2 is one object under guidance, of 1 without."""


def published_evaluation(name: str, batch: int) -> tuple[Count, int]:
    """One evaluation of an official point transformer in float32 on so many rows, and its parameters."""
    settings = PUBLISHED[name]
    with torch.device("meta"):
        network = PointDiffusionTransformer(settings).eval()
        inputs = {"x": torch.empty(batch, CHANNELS, settings.points), "t": torch.empty(batch)}
        if settings.conditioning == "vector":
            inputs["clip"] = torch.empty(batch, settings.clip_width)
        elif settings.conditioning != "none":
            inputs["clip"] = torch.empty(batch, settings.clip_tokens, settings.clip_width)
        if settings.conditioning == "grid+points":
            inputs["low_resolution"] = torch.empty(batch, CHANNELS, settings.low_resolution_points)
        return counted(lambda: network(**inputs)), count_parameters(network)


def published_sdf() -> Row:
    """The field of a cloud of 4,096 points on the grid of a mesh; finding the surface in it asks no network."""
    with torch.device("meta"):
        network = SdfNetwork().eval()
        cloud, positions = torch.empty(1, 3, network.settings.points), torch.empty(1, 3, QUERY_POSITIONS)
        heads = network.settings.heads
        kv = torch.empty(1, heads, network.settings.points, network.settings.width // heads)
        context = [(kv, kv)] * network.settings.decoder_layers
        part, once = counted(lambda: network(positions, context)), counted(lambda: network.context(cloud))
    asked = GRID**3 // QUERY_POSITIONS
    return Row(
        name="SDF mesh of 128³", batch=1, asked=asked, parameters=count_parameters(network), evaluation=part, once=once
    )


def published_prior(pictures: bool) -> tuple[Count, int]:
    """One evaluation of Shap-E's diffusion network under guidance, and its parameters."""
    with torch.device("meta"):
        prior = build_prior(pictures).eval()
        x, t = torch.empty(2, SHAP_E.latent.tokens, SHAP_E.latent.width), torch.zeros(2, dtype=torch.long)
        seen = torch.empty(2, GRID_TOKENS, SHAP_E.clip_grid) if pictures else torch.empty(2, SHAP_E.clip_vector)
        return counted(lambda: prior(x, timestep=t, proj_embedding=seen)), count_parameters(prior)


def published_decoder() -> Iterator[Row]:
    """Shap-E's mesh without the colours of its vertices, whose number is the object's, and its views with every ray
    through the box: some miss it, and cost nothing."""
    part = QUERY_POINTS["cpu"]
    with torch.device("meta"):
        renderer = build_renderer().eval()
        latent = torch.empty(1, SHAP_E.latent.vectors, SHAP_E.latent.d_latent)
        projected: dict[int, Tensor] = {}
        once = counted(lambda: projected.update(object_weights(renderer, latent)))
        evaluation = counted(lambda: ask(renderer, projected, torch.empty(1, part, 3)))
    along = RAY_SAMPLES[0] + sum(RAY_SAMPLES)  # coarse, then all of them by the fine field
    for name, points in (("mesh of 128³", GRID**3), ("20 NeRF views of 64²", VIEW_RAYS * along)):
        yield Row(
            name=f"Shap-E, {name}",
            batch=1,
            asked=points // part,
            parameters=count_parameters(renderer),
            evaluation=evaluation,
            once=once,
        )


def published_clip() -> dict[str, tuple[Count, int]]:
    """CLIP ViT-L/14's two sides, a prompt and a picture each, and their parameters."""
    open_clip = import_open_clip()
    config = open_clip.get_model_config("ViT-L-14")
    with torch.device("meta"):
        clip = open_clip.model.CLIP(
            embed_dim=config["embed_dim"],
            vision_cfg=open_clip.model.CLIPVisionCfg(**config["vision_cfg"]),
            text_cfg=open_clip.model.CLIPTextCfg(**config["text_cfg"]),
        ).eval()
        tokens = torch.zeros(1, CONTEXT_TOKENS, dtype=torch.long)
        picture = torch.empty(1, 3, PICTURE_PX, PICTURE_PX)
        seen, all_of_it = count_parameters(clip.visual), count_parameters(clip)
        return {
            "CLIP ViT-L/14, text": (counted(lambda: clip.encode_text(tokens)), all_of_it - seen),
            "CLIP ViT-L/14, image": (counted(lambda: clip.encode_image(picture)), seen),
        }


def published_sd_turbo() -> dict[str, tuple[Count, int]]:
    """The default text-to-image pipeline's parts, for a picture of 512² in its single step, which is not guided.

    Its sizes are those of Stable Diffusion 2.1, which it was distilled from (https://huggingface.co/stabilityai/sd-turbo);
    its own files were not read. The text encoder is the one of OpenCLIP's ViT-H/14 without its last layer.
    """
    open_clip = import_open_clip()
    from diffusers import AutoencoderKL, UNet2DConditionModel

    text = open_clip.get_model_config("ViT-H-14")
    with torch.device("meta"):
        encoder = open_clip.model._build_text_tower(
            text["embed_dim"], open_clip.model.CLIPTextCfg(**text["text_cfg"] | {"layers": 23})
        ).eval()
        encoder.text_projection = None
        unet = UNet2DConditionModel(
            sample_size=64, attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True
        ).eval()
        painter = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ).eval()
        latent, words = torch.empty(1, 4, 64, 64), torch.empty(1, CONTEXT_TOKENS, 1024)
        decoder = count_parameters(painter.decoder) + count_parameters(painter.post_quant_conv)
        tokens = torch.zeros(1, CONTEXT_TOKENS, dtype=torch.long)
        return {
            "SD-Turbo, text": (counted(lambda: encoder(tokens)), count_parameters(encoder)),
            "SD-Turbo, U-Net": (counted(lambda: unet(latent, 999, words)), count_parameters(unet)),
            "SD-Turbo, picture": (counted(lambda: painter.decode(latent)), decoder),
        }


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    def network(name: str, batch: int, asked: int, found: tuple[Count, int]) -> Row:
        return Row(name=name, batch=batch, asked=asked, parameters=found[1], evaluation=found[0])

    often = evaluations(STEPS)
    made = [network(name, batch, often, published_evaluation(name, batch)) for name, batch in POINT_E]
    made += [network(name, 1, 1, found) for name, found in published_clip().items()]
    made += [network(name, 1, 1, found) for name, found in published_sd_turbo().items()]
    made.append(published_sdf())
    for name, pictures in (("Shap-E 300M, text", False), ("Shap-E 300M, image", True)):
        made.append(network(name, 2, often, published_prior(pictures)))
    return (*made, *published_decoder())


def published_table() -> list[str]:
    """Lines of Markdown: `docs/cost.md` has them."""
    lines = [
        "| network | batch | parameters | GFLOP an evaluation | MB an evaluation | evaluations an object | "
        "TFLOP an object | floor of an object, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows():
        lines.append(
            f"| {row.name} | {row.batch} | {row.parameters:,} | {row.evaluation.total_flops / 1e9:,.1f} | "
            f"{row.evaluation.bytes_moved / 1e6:,.0f} | {row.asked:,} | {row.object.total_flops / 1e12:,.3g} | "
            f"{row.floor_s:,.{0 if row.floor_s >= 10 else 2}f} |"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(published_table()))
