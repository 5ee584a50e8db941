"""A second judge of the same pictures: another network, its share, and how often both agree."""

from __future__ import annotations

import json
import random

import pytest
import torch

from leaderboards import agreement as tables
from leaderboards.__main__ import main
from leaderboards.rows import load_published, measured_rows
from suite.catalogue.judges import NANO, SECOND_JUDGE_OF, SECOND_NANO
from suite.judging.agreement import kappa, second_opinion, together
from suite.judging.borrowing import Committed, with_borrowed
from suite.judging.scores import summarize
from suite.metrics.judges import load_judge
from suite.metrics.quality import Judge
from suite.models.conditioning.clip_convolutional import ConvolutionalClip
from suite.records import Interval, PromptOutcome, Quality, SecondOpinion
from suite.scenes.captions import all_scenes
from suite.scenes.renderer import judge_views
from suite.scenes.shapes import SceneTable
from tests.factories import measurement, session_file


def outcomes(both: int, only_first: int, only_second: int, neither: int) -> list[PromptOutcome]:
    ranks = [(0, 0)] * both + [(0, 3)] * only_first + [(3, 0)] * only_second + [(3, 3)] * neither
    return [
        PromptOutcome(prompt=f"thing {n}", rank_153=a, margin_153=0.1 if a == 0 else -0.1, second_rank_153=b)
        for n, (a, b) in enumerate(ranks)
    ]


def scored(*counts: int, judge: str = "second") -> Quality:
    found = outcomes(*counts)
    return summarize("first", found).model_copy(update={"second_opinion": second_opinion(judge, found)})


def test_kappa_is_cohens():
    """The example of Wikipedia's "Cohen's kappa": 20, 5, 10 and 15 of 50, kappa 0.4."""
    found = second_opinion("second", outcomes(20, 5, 10, 15))
    assert found.agreement == pytest.approx(0.7) and found.r_precision.value == pytest.approx(0.6)
    value = kappa(found)
    assert value.value == pytest.approx(0.4) and value.low < 0.4 < value.high
    assert kappa(second_opinion("second", outcomes(50, 0, 0, 0))) is None  # chance agrees always too
    assert kappa(second_opinion("second", outcomes(25, 0, 0, 25))).value == 1


@pytest.mark.parametrize("seed", range(200))
def test_kappa_lies_between_minus_one_and_one_and_does_not_mind_who_is_first(seed):
    generator = random.Random(seed)
    both, one, other, neither = (generator.choice((0, 1, generator.randrange(60))) for _ in range(4))
    both += not (both or one or other or neither)
    found = kappa(second_opinion("second", outcomes(both, one, other, neither)))
    swapped = kappa(second_opinion("second", outcomes(both, other, one, neither)))
    assert found is None or -1 <= found.low <= found.value <= found.high <= 1
    assert (found and found.value) == pytest.approx(swapped and swapped.value)


def test_several_rows_are_counted_as_one_and_two_second_judges_are_not_mixed():
    one, other = second_opinion("second", outcomes(5, 1, 0, 0)), second_opinion("second", outcomes(1, 0, 2, 3))
    every = together([one, other])
    assert (every.both, every.only_first, every.only_second, every.neither) == (6, 1, 2, 3)
    assert every.r_precision.value == pytest.approx(8 / 12)
    assert together([one, second_opinion("third", outcomes(1, 0, 0, 0))]) is None and together([]) is None
    assert second_opinion("second", [PromptOutcome(prompt="x", rank_153=0, margin_153=0.1)]) is None


def test_outcomes_that_are_taken_from_elsewhere_bring_the_second_opinion_of_the_same_judge_only():
    whole = scored(10, 2, 1, 3)
    few = whole.outcomes[:4]
    here = summarize("first", few).model_copy(update={"second_opinion": second_opinion("second", few)})
    committed = Committed("s1", "laptop", "2026-11-01T00:00:00.000+00:00", "weights", "gallery", whole)
    assert with_borrowed(here, committed).second_opinion == whole.second_opinion
    retrained = here.model_copy(update={"second_opinion": second_opinion("retrained", few)})
    found = with_borrowed(retrained, committed)
    assert (found.second_opinion.objects, found.prompts) == (4, 16)
    assert with_borrowed(summarize("first", few), committed).second_opinion is None


def test_the_judges_share_no_architecture_and_each_of_them_recognizes_true_scenes():
    first, second = load_judge(NANO), load_judge(SECOND_NANO)
    assert isinstance(second.clip, ConvolutionalClip) and not isinstance(first.clip, ConvolutionalClip)
    scenes = [scene for scene in all_scenes() if scene.split == "held-out"][:64]
    clouds, _ = SceneTable(scenes).clouds(torch.arange(len(scenes)), 1024, torch.Generator().manual_seed(0))
    views = judge_views(clouds, size_px=second.size_px)
    captions = [scene.caption for scene in scenes]
    for judge in (first, second):
        near = (judge.views(views) @ judge.captions(captions).T).argmax(-1)
        assert (near == torch.arange(len(scenes))).float().mean() > 0.8, judge.name


def test_a_pictures_vector_does_not_hang_on_its_neighbours():
    clip = load_judge(SECOND_NANO).clip
    pictures = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([clip.encode_image(picture[None]) for picture in pictures])
    torch.testing.assert_close(clip.encode_image(pictures), alone, rtol=1e-4, atol=1e-5)


def test_the_second_judge_is_asked_where_nobody_chose_another_and_what_was_not_made_is_no_hit():
    judge = Judge()
    assert SECOND_JUDGE_OF["embedded"] == SECOND_NANO and judge.second_name.startswith(f"{SECOND_NANO}:")
    prompts = judge.prompts[:3]
    by_caption = {scene.caption: scene for scene in all_scenes()}
    table = SceneTable([by_caption[prompt] for prompt in prompts])
    clouds = table.clouds(torch.arange(3), 1024, torch.Generator().manual_seed(0), jitter=0.0)[0]
    clouds[2] = float("nan")
    found = judge.score(clouds, prompts)
    assert [o.second_rank_153 for o in found[:2]] == [0, 0] and found[2].second_rank_153 > 0
    alone = Judge(judge=NANO)
    assert alone.second_name is None and alone.score(clouds, prompts)[0].second_rank_153 is None


@pytest.fixture
def history(tmp_path):
    cells = [
        measurement().model_copy(update={"quality": scored(130, 5, 8, 10)}),
        measurement("point-e-nano-text/steps-8@cpu").model_copy(update={"quality": scored(10, 30, 3, 110)}),
        measurement("point-e-nano-text/steps-16@cpu"),  # of before there was a second judge
    ]
    session_file(tmp_path / "laptop" / "0001_run.json", cells)
    return tmp_path


def test_the_table_has_where_they_differ_most_first(history, capsys):
    assert main(["judges", "--history", str(history), "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "first and second agree on 85.0 % of 306 objects of 2 rows (kappa 0.7" in said[0]
    assert "Only the first recognizes 35 of them, only the second 11." in said[0]
    assert "steps-8" in said[2] and "fp32" in said[3] and len(said) == 4
    session_file(history / "old" / "laptop" / "0001_run.json", [measurement()])
    assert main(["judges", "--history", str(history / "old")]) == 0
    assert "No objects were shown to two judges." in capsys.readouterr().out


def test_rows_have_it_and_are_read_by_later_fields(history, tmp_path):
    assert main(["publish", "--history", str(history), "--output", str(tmp_path / "tables")]) == 0
    rows = {row.optimization: row for row in load_published(tmp_path / "tables") if row.device == "cpu"}
    assert rows["fp32"].second_opinion.both == 130 and rows["steps-16"].second_opinion is None
    path = tmp_path / "tables" / "cpu.json"
    later = json.loads(path.read_text())
    for row in later:
        if row["second_opinion"]:
            row["second_opinion"] |= {"third": 1, "r_precision": row["second_opinion"]["r_precision"] | {"median": 1}}
    path.write_text(json.dumps(later))
    assert {r.optimization: r for r in load_published(tmp_path / "tables") if r.device == "cpu"} == rows
    assert "agree on 91.5 % of 153" in (tmp_path / "tables" / "cpu.md").read_text()


def test_of_objects_that_both_recognize_kappa_says_nothing():
    (row,) = measured_rows([measurement().model_copy(update={"quality": scored(16, 0, 0, 0)})])
    assert tables.lines([row])[0][5] == "–"


@pytest.mark.parametrize("field", ["both", "neither"])
def test_a_count_is_no_less_than_nothing(field):
    counts = {"both": 1, "only_first": 0, "only_second": 0, "neither": 0} | {field: -1}
    with pytest.raises(ValueError, match=field):
        SecondOpinion(judge="second", r_precision=Interval(value=1.0), **counts)
