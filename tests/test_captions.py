"""The caption grammar, its splits, the frozen gallery, and what a prompt outside the grammar is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.scenes.captions import (
    COLOURS,
    HELD_OUT_SHARE,
    RELATIONS,
    SHAPES,
    SYMMETRIC,
    UNSEEN_COMBINATIONS,
    WORDS,
    all_scenes,
    draw_gallery,
    normalize,
    scene_of,
    scenes_of,
)

GALLERY = Path(__file__).parents[1] / "suite" / "embedded" / "gallery.json"


def gallery() -> dict[str, list[str]]:
    return json.loads(GALLERY.read_text())


def colours_and_shapes(scene) -> set[tuple[str, str]]:
    things = [scene.thing] + ([scene.other] if scene.other else [])
    return {(COLOURS[thing.colour], SHAPES[thing.shape]) for thing in things}


def test_the_grammar_has_at_least_100_000_scenes():
    assert len(all_scenes()) == 110_592


def test_every_caption_has_one_meaning_and_every_meaning_one_caption():
    scenes = all_scenes()
    assert len({scene.caption for scene in scenes}) == len(scenes) == len(set(scenes))


def test_a_caption_is_read_back_and_what_is_none_is_not():
    assert all(scene_of(scene.caption) == scene for scene in all_scenes())
    near = next(s for s in all_scenes() if s.other is not None and RELATIONS[s.relation] in SYMMETRIC)
    turned = near._replace(thing=near.other, other=near.thing).caption
    for other in (
        turned,
        "a red cube on a red cube",
        "a mauve cube",
        "two red cube",
        "A red cube",
        "a red cube on",
        "",
    ):
        assert scene_of(other) is None, other


def test_a_symmetric_relation_names_its_two_things_in_one_order_only():
    pairs = [
        (scene.relation, frozenset((scene.thing, scene.other)))
        for scene in all_scenes()
        if scene.other and RELATIONS[scene.relation] in SYMMETRIC
    ]
    assert len(pairs) == len(set(pairs)) > 0


def test_no_scene_relates_a_thing_to_its_equal():
    assert not any(scene.thing == scene.other for scene in all_scenes())


def test_captions_read_as_english():
    captions = {scene.caption for scene in all_scenes()}
    assert {"an orange cube", "a small orange cube", "three large black crosses", "two red arches"} <= captions
    assert "a small red cube on a large blue ball" in captions
    assert not any(
        " a orange" in f" {caption}" or " an " in f" {caption}".replace(" an orange", "") for caption in captions
    )


def test_the_three_splits_make_up_the_grammar():
    assert sum(len(scenes_of(split)) for split in ("training", "held-out", "unseen")) == len(all_scenes())


def test_an_unseen_combination_is_in_no_training_and_no_held_out_caption():
    for split in ("training", "held-out"):
        assert not any(colours_and_shapes(scene) & UNSEEN_COMBINATIONS for scene in scenes_of(split))
    assert all(colours_and_shapes(scene) & UNSEEN_COMBINATIONS for scene in scenes_of("unseen"))


def test_every_shape_and_every_colour_lacks_exactly_one_combination_in_training():
    assert len(UNSEEN_COMBINATIONS) == len(SHAPES) == len(COLOURS)
    assert {shape for _, shape in UNSEEN_COMBINATIONS} == set(SHAPES)
    assert {colour for colour, _ in UNSEEN_COMBINATIONS} == set(COLOURS)
    trained = set().union(*(colours_and_shapes(scene) for scene in scenes_of("training")))
    assert len(trained) == len(SHAPES) * len(COLOURS) - len(UNSEEN_COMBINATIONS)


def test_a_held_out_pairing_is_trained_in_no_relation_and_in_no_order():
    pairings = {
        split: {frozenset((scene.thing, scene.other)) for scene in scenes_of(split) if scene.other}
        for split in ("training", "held-out")
    }
    assert not pairings["training"] & pairings["held-out"]
    share = len(pairings["held-out"]) / (len(pairings["held-out"]) + len(pairings["training"]))
    assert share == pytest.approx(HELD_OUT_SHARE, abs=0.01)


def test_each_half_of_a_held_out_pairing_is_trained():
    trained = {thing for scene in scenes_of("training") for thing in (scene.thing, scene.other)}
    assert {thing for scene in scenes_of("held-out") for thing in (scene.thing, scene.other)} <= trained


def test_the_frozen_gallery_is_what_the_grammar_draws():
    assert gallery() == draw_gallery()


def test_the_gallery_has_its_sizes_and_no_caption_twice():
    frozen = gallery()
    assert {name: len(captions) for name, captions in frozen.items()} == {
        "prompts": 1024,
        "distractors": 3000,
        "tuning": 256,
    }
    captions = [caption for part in frozen.values() for caption in part]
    assert len(set(captions)) == len(captions)  # so prompts, distractors and tuning are disjoint


def test_every_caption_of_the_gallery_is_held_out_of_training():
    held_out = {scene.caption for scene in scenes_of("held-out")}
    assert all(caption in held_out for part in gallery().values() for caption in part)


def test_the_first_152_distractors_know_every_shape_colour_and_relation():
    words = set(" ".join(gallery()["distractors"][:152]).split())
    assert {*SHAPES, *COLOURS, *" ".join(RELATIONS).split()} <= words


@pytest.mark.parametrize("prompt", ["A red cube", "a  red cube.", " a red cube ", "a red cube.\n", "a\tred cube ,"])
def test_a_prompt_is_normalized_to_the_grammar(prompt):
    assert normalize(prompt) == "a red cube"


def test_an_unknown_word_is_answered_with_the_nearest_known_ones():
    from suite.scenes.tokenizer import tokenize

    with pytest.raises(ValueError, match=r"'a red cubee'.*'cubee'.*nearest: .*\bcube\b"):
        tokenize(["a red cubee"])


def test_a_word_near_to_nothing_is_answered_with_all_words():
    from suite.scenes.tokenizer import tokenize

    with pytest.raises(ValueError, match="'xylophone'") as caught:
        tokenize(["a xylophone"])
    assert all(word in str(caught.value) for word in ("cube", "purple", "floating"))


def test_a_prompt_that_is_too_long_is_told_the_limit():
    from suite.scenes.tokenizer import CONTEXT, tokenize

    with pytest.raises(ValueError, match=f"{CONTEXT - 1} words, at most {CONTEXT - 2}"):
        tokenize(["red " * (CONTEXT - 1)])


@pytest.mark.parametrize("prompt", ["", "  .", "\n"])
def test_an_empty_prompt_is_refused(prompt):
    from suite.scenes.tokenizer import tokenize

    with pytest.raises(ValueError, match="prompt"):
        tokenize([prompt])


def test_a_word_that_no_caption_has_is_refused_since_no_network_learned_it():
    from suite.scenes.tokenizer import tokenize

    used = set(" ".join(scene.caption for scene in all_scenes()).split())
    for word in set(WORDS) - used:  # "medium" is what no size word means
        with pytest.raises(ValueError, match=word):
            tokenize([f"a {word} red cube"])


def test_different_captions_have_different_tokens_that_end_with_the_largest():
    from suite.scenes.tokenizer import CONTEXT, END, tokenize

    captions = [scene.caption for scene in all_scenes()[::97]]
    tokens = tokenize(captions)
    assert tokens.shape == (len(captions), CONTEXT)
    assert len(tokens.unique(dim=0)) == len(captions)
    assert tokens.amax(1).eq(END).all()  # open_clip reads the text at the largest token
    assert tokens.eq(END).sum(1).eq(1).all()
