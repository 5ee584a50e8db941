"""OpenAI's checkpoints: which files there are, from where, and which of them a model needs. Without torch."""

from __future__ import annotations

from dataclasses import dataclass

from suite.models.checkpoints.pins import RemoteFile
from suite.names import unknown

POINT_E = "https://openaipublic.azureedge.net/main/point-e"
SHAP_E = "https://openaipublic.azureedge.net/main/shap-e"
HUB = "https://huggingface.co/timm"
UNHASHED = "openai/point-e, point_e/models/download.py, which gives no hashes"
HASHED = "openai/shap-e, shap_e/models/download.py, with its hash"
ON_HUB = "OpenAI's CLIP as open_clip names it, at a pinned revision; the hash is the repository's own (LFS)"


@dataclass(frozen=True, kw_only=True)
class OfficialFile(RemoteFile):
    network: str | None = None  # what OpenAI's code calls it

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]


OFFICIAL = {
    file.stem: file
    for file in (
        OfficialFile(name="base_40m.pt", network="base40M", url=f"{POINT_E}/base_40m.pt", source=UNHASHED),
        OfficialFile(
            name="base_40m_textvec.pt", network="base40M-textvec", url=f"{POINT_E}/base_40m_textvec.pt", source=UNHASHED
        ),
        OfficialFile(
            name="base_40m_imagevec.pt",
            network="base40M-imagevec",
            url=f"{POINT_E}/base_40m_imagevec.pt",
            source=UNHASHED,
        ),
        OfficialFile(
            name="base_40m_uncond.pt", network="base40M-uncond", url=f"{POINT_E}/base_40m_uncond.pt", source=UNHASHED
        ),
        OfficialFile(name="base_300m.pt", network="base300M", url=f"{POINT_E}/base_300m.pt", source=UNHASHED),
        OfficialFile(name="base_1b.pt", network="base1B", url=f"{POINT_E}/base_1b.pt", source=UNHASHED),
        OfficialFile(name="upsample_40m.pt", network="upsample", url=f"{POINT_E}/upsample_40m.pt", source=UNHASHED),
        OfficialFile(name="sdf.pt", network="sdf", url=f"{POINT_E}/sdf.pt", source=UNHASHED),
        OfficialFile(
            name="text_cond.pt",
            network="text300M",
            url=f"{SHAP_E}/text_cond.pt",
            source=HASHED,
            sha256="e6b4fa599a7b3c3b16c222d5f5fe56f9db9289ff0b6575fbe5c11bc97106aad4",
        ),
        OfficialFile(
            name="image_cond.pt",
            network="image300M",
            url=f"{SHAP_E}/image_cond.pt",
            source=HASHED,
            sha256="cb8072c64bbbcf6910488814d212227de5db291780d4ea99c6152f9346cf12aa",
        ),
        OfficialFile(
            name="vector_decoder.pt",
            network="decoder",
            url=f"{SHAP_E}/vector_decoder.pt",
            source=HASHED,
            sha256="d7e7ebbfe3780499ae89b2da5e7c1354012dba5a6abfe295bed42f25c3be1b98",
        ),
        OfficialFile(
            name="transmitter.pt",
            network="transmitter",
            url=f"{SHAP_E}/transmitter.pt",
            source=HASHED,
            sha256="af02a0b85a8abdfb3919584b63c540ba175f6ad4790f574a7fef4617e5acdc3b",
        ),
        OfficialFile(
            name="clip-vit-b-32.safetensors",
            source=ON_HUB,
            bytes=605_143_284,
            url=f"{HUB}/vit_base_patch32_clip_224.openai/resolve/a6f597a30f7b82c51704746581f9a4e41421e878/open_clip_model.safetensors",
            sha256="e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        ),
        OfficialFile(
            name="clip-vit-l-14.safetensors",
            source=ON_HUB,
            bytes=1_710_517_724,
            url=f"{HUB}/vit_large_patch14_clip_224.openai/resolve/18d0535469bb561bf468d76c1d73aa35156c922b/open_clip_model.safetensors",
            sha256="9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
        ),
    )
}

MODEL_FILES = {
    "point-e-40m-text": ("clip-vit-l-14", "base_40m_textvec", "upsample_40m", "sdf"),
    "point-e-40m-imagevec": ("clip-vit-l-14", "base_40m_imagevec", "upsample_40m", "sdf"),
    "point-e-40m-image": ("clip-vit-l-14", "base_40m", "upsample_40m", "sdf"),
    "point-e-300m-image": ("clip-vit-l-14", "base_300m", "upsample_40m", "sdf"),
    "point-e-1b-image": ("clip-vit-l-14", "base_1b", "upsample_40m", "sdf"),
    "shap-e-300m-text": ("clip-vit-l-14", "text_cond", "vector_decoder"),
    "shap-e-300m-image": ("clip-vit-l-14", "image_cond", "vector_decoder"),
}
"""What a model's networks are loaded from; a text-to-image pipeline before them is apart."""


def find_official(name: str) -> OfficialFile:
    """By the file's stem, or by what OpenAI's code calls the network."""
    by_network = {file.network: file for file in OFFICIAL.values() if file.network}
    if name in OFFICIAL:
        return OFFICIAL[name]
    if name in by_network:
        return by_network[name]
    raise unknown("official checkpoint", name, {*OFFICIAL, *by_network})
