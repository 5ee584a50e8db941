"""What broke: an object's own caption against those that differ from it in one attribute (`suite.scenes.near_misses`).

The same judge and picture as for R-Precision. `suite.judging.scores.kept` says which attribute is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import Tensor

from suite.metrics.gallery_cache import kept_captions
from suite.metrics.judges import Recognizer
from suite.records import Attribute
from suite.scenes.captions import Scene
from suite.scenes.near_misses import near_misses

NO_SCENES = "only captions of the embedded grammar have near misses"


def attribute_margins(
    recognizer: Recognizer, pictures: Tensor, own: Tensor, prompts: Sequence[str], scenes: Mapping[str, Scene]
) -> list[dict[Attribute, float] | None]:
    """For each object, by attribute, its own caption's lead over the best near miss (cosines).

    pictures: unit vectors [B, width]; own: their cosines with their own captions [B]. None for a prompt that is no
    scene of the grammar. The captions' vectors are kept on disk: 36 a prompt take 26 ms of a processor to embed.
    """
    asked = [near_misses(scenes[prompt]) if prompt in scenes else {} for prompt in prompts]
    captions = [caption for by_attribute in asked for some in by_attribute.values() for caption in some]
    if not captions:
        return [None] * len(prompts)
    key = hashlib.sha256("\n".join(captions).encode()).hexdigest()
    vectors = kept_captions(recognizer.name, key, len(captions), lambda: recognizer.captions(captions))
    found, start = [], 0
    for picture, cosine, by_attribute in zip(pictures, own, asked):
        margins: dict[Attribute, float] = {}
        for attribute, some in by_attribute.items():
            best = (vectors[start : start + len(some)] @ picture).amax()
            margins[attribute] = round((cosine - best).item(), 5)
            start += len(some)
        found.append(margins or None)
    return found
