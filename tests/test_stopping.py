"""Scoring that stops when it knows: the interval's promise, the question, the row of parts, a session."""

from __future__ import annotations

import json
from multiprocessing import Pipe

import numpy as np
import pytest
import torch

from leaderboards import cells
from suite.building import build
from suite.configurations import find
from suite.judging import anytime, stopping
from suite.judging.borrowing import Committed
from suite.judging.intervals import proportion
from suite.judging.paired_quality import difference, mcnemar_p
from suite.judging.scores import summarize
from suite.judging.stopping import Clerk, Stopping
from suite.metrics.quality import Judge
from suite.metrics.scoring import Row, Scored
from suite.metrics.sharing import Lead, fill
from suite.records import PromptOutcome
from suite.worker.job import Answers, Job
from suite.worker.passes import Run, quality_pass
from tests import warm_server
from tests.factories import row

PROMPTS = [f"a prompt, the {n}th" for n in range(1024)]


def pairs(both: int = 0, won: int = 0, lost: int = 0, neither: int = 0) -> list[tuple[bool, bool]]:
    return both * [(True, True)] + won * [(True, False)] + lost * [(False, True)] + neither * [(False, False)]


# The interval.


@pytest.mark.parametrize("rate", [0.006, 0.5, 0.93, 1.0])
def test_looking_after_every_part_the_truth_is_ever_left_out_in_at_most_one_of_twenty_games(rate):
    """A fixed interval that is looked at so often leaves it out several times as often."""
    draws, looks = 200, range(8, 401, 8)
    hits = np.random.default_rng(7).random((draws, 400)) < rate
    counts = hits.cumsum(axis=1)
    mean = min(max(rate, 1e-9), 1 - 1e-9)
    left_out = sum(
        any(anytime.log_wealth((n - c[n - 1], c[n - 1]), (0.0, 1.0), mean) >= anytime.RICH for n in looks)
        for c in counts
    )
    assert left_out <= 0.05 * draws


def test_a_difference_that_is_watched_is_ever_called_by_mistake_in_at_most_one_of_twenty():
    """The recipe is worse by just the margin, the hardest case: any verdict is a mistake in one direction at least."""
    generator, wrong, naive = np.random.default_rng(11), 0, 0
    for _ in range(200):
        moved = generator.choice([1, -1, 0], 400, p=[0.02, 0.05, 0.93])
        told = [(int((moved[:n] < 0).sum()), n, int((moved[:n] > 0).sum())) for n in range(16, 401, 16)]
        found = [
            (lost, won, n, anytime.log_wealth((lost, n - lost - won, won), (0.0, 0.5, 1.0), 0.485))
            for lost, n, won in told
        ]
        wrong += any(wealth >= anytime.RICH for *_, wealth in found)
        naive += any(difference(pairs(n - won - lost, won, lost)).high < -0.03 for lost, won, n, _ in found)
        naive += any(difference(pairs(n - won - lost, won, lost)).low > -0.03 for lost, won, n, _ in found)
    assert wrong <= 10
    assert naive > wrong


@pytest.mark.parametrize(("hits", "trials"), [(0, 8), (8, 8), (143, 153), (1, 1), (512, 1024)])
def test_an_interval_holds_its_share_and_is_no_narrower_than_one_for_a_single_look(hits, trials):
    found = anytime.share(hits, trials)
    assert 0 <= found.low <= found.value == hits / trials <= found.high <= 1
    once = proportion(hits, trials)
    assert found.high - found.low >= once.high - once.low


def test_interval_and_p_value_agree_about_a_difference():
    for made in (pairs(150, 1, 2), pairs(100, 0, 40, 10), pairs(20, 0, 12), pairs(0, 30, 0, 3)):
        found = anytime.difference(made)
        assert (anytime.p_value(made) <= 0.05) == (not found.low <= 0 <= found.high)
        assert difference(made, anytime=True) == found
        assert mcnemar_p(made, anytime=True) == anytime.p_value(made) >= mcnemar_p(made)


# The question.


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ([], "open"),
        (pairs(0, 0, 4), "open"),
        (pairs(0, 0, 8), "inferior"),
        (pairs(100, 0, 30), "inferior"),
        (pairs(150, 1, 2), "open"),
        (pairs(250, 0, 0), "non-inferior"),
        (pairs(900, 5, 6, 100), "non-inferior"),
        (pairs(300, 40, 0), "non-inferior"),
    ],
)
def test_the_verdict_on_so_many_prompts(made, verdict):
    assert stopping.verdict(made) == verdict


def outcome(prompt: str, hit: bool) -> PromptOutcome:
    return PromptOutcome(prompt=prompt, rank_153=0 if hit else 3, margin_153=0.1 if hit else -0.1)


def known(count: int = 400, judge: str = "judge", gallery: str = "g") -> Committed:
    quality = summarize(judge, [outcome(prompt, True) for prompt in PROMPTS[:count]])
    return Committed("20260101T000000-1", "board", "2026-01-01T00:00:00+00:00", "w", gallery, quality)


def test_the_clerk_stops_when_it_is_decided_and_says_by_what():
    clerk = Clerk(Stopping(reference=known()), "judge", "g")
    assert clerk.most(PROMPTS) == 400
    hit = [outcome(prompt, True) for prompt in PROMPTS]
    missed = [outcome(prompt, False) for prompt in PROMPTS]
    assert clerk.why_enough(missed[:4]) is None and clerk.why_enough(missed[:8]) == "decided"
    assert clerk.why_enough(hit[:160]) is None and clerk.why_enough(hit[:208]) == "decided"
    quality = clerk.concluded(summarize("judge", hit[:208]), 400)
    assert (quality.stopped.why, quality.stopped.verdict, quality.stopped.pairs) == ("decided", "non-inferior", 208)
    assert quality.stopped.difference.low > -0.03 and quality.stopped.reference_session == "20260101T000000-1"
    assert quality.r_precision == anytime.share(208, 208)
    inferior = clerk.concluded(summarize("judge", missed[:8]), 400).stopped
    assert inferior.verdict == "inferior" and inferior.difference.high < -0.03
    all_of_them = clerk.concluded(summarize("judge", [*hit[:200], *missed[200:210], *hit[210:400]]), 400).stopped
    assert (all_of_them.why, all_of_them.verdict) == ("all prompts", "open")


def test_time_ends_what_stays_open_but_never_before_a_full_set_of_prompts():
    seconds = iter([0.0, *[400.0] * 9])
    clerk = Clerk(Stopping(time_s=300, reference=known()), "judge", "g", clock=lambda: next(seconds))
    hit = [outcome(prompt, n % 20 > 0) for n, prompt in enumerate(PROMPTS)]
    assert clerk.why_enough(hit[:152]) is None
    assert clerk.why_enough(hit[:153]) == "time"
    assert clerk.concluded(summarize("judge", hit[:160]), 400).stopped.why == "time"
    assert clerk.concluded(summarize("judge", hit[:160]), 160).stopped.why == "all prompts"  # which ended first


def test_every_share_of_a_watched_quality_has_an_interval_that_bears_it():
    lost = {"colour": -0.1, "shape": 0.1}
    seen = [
        outcome(p, True).model_copy(update={"worst_view_margin_153": 0.1, "attribute_margins": lost}) for p in PROMPTS
    ]
    quality = Clerk(Stopping(reference=known()), "judge", "g").concluded(summarize("judge", seen[:208]), 400)
    assert quality.worst_view == anytime.share(208, 208)
    assert quality.attributes == {"colour": anytime.share(0, 208), "shape": anytime.share(208, 208)}


@pytest.mark.parametrize("reference", [None, known(judge="another"), known(gallery="another")])
def test_without_outcomes_that_can_be_compared_there_is_no_question(reference):
    """All prompts are scored, in the time there is, and the interval is that of a fixed number."""
    clerk = Clerk(Stopping(reference=reference), "judge", "g")
    assert clerk.most(PROMPTS) == len(PROMPTS)
    missed = [outcome(prompt, False) for prompt in PROMPTS]
    assert clerk.why_enough(missed) is None
    quality = clerk.concluded(summarize("judge", missed), len(PROMPTS))
    assert quality.stopped.verdict is None and quality.r_precision == summarize("judge", missed).r_precision


def test_it_ends_at_the_same_prompt_in_whatever_order_the_parts_come():
    parts = {n: Scored([outcome(PROMPTS[n], True)], [], []) for n in range(6)}
    for order in ([0, 1, 2, 3, 4, 5], [0, 3, 5, 4, 2, 1], [0, 2, 1]):
        done: dict[int, Scored] = {}
        row = Row(done, 6, lambda outcomes: len(outcomes) >= 3)
        ended = []
        for number in order:
            done[number] = parts[number]
            ended.append(row.ended())
        assert ended[-1] and [len(p.outcomes) for p in row.whole()] == [1, 1, 1]
    row = Row(parts, 6, lambda outcomes: False)
    assert not row.ended() and len(row.whole()) == 6


def test_scoring_ends_where_the_reference_does_though_more_parts_were_numbered():
    """The numbers of the parts are given out before anybody knows how many prompts the reference has."""
    configuration = find("point-e-nano-text/distilled-2+copied-points@cpu")
    judge = Judge()
    quality = summarize(judge.name, [outcome(prompt, True) for prompt in judge.prompts[:12]])
    reference = Committed("20260101T000000-1", "board", "2026-01-01T00:00:00+00:00", "w", judge.gallery_sha256, quality)
    job = Job(configuration, "embedded", quality_prompts=64, stopping=Stopping(reference=reference))
    numbers, writer = Pipe(duplex=False)
    fill(writer, range(1, 8))
    told, pipe = Pipe(duplex=False)
    run = Run(job, build(configuration, "embedded", torch.device("cpu")), None, Answers(pipe), judge.prompts[0])
    threads = torch.get_num_threads()
    quality_pass(run, object_s=100.0, lead=Lead(numbers), beginning_s=1.0, known=None)
    torch.set_num_threads(threads)
    pipe.close()
    said = [told.recv() for _ in range(4)]
    assert said[1] == ("help",)
    scored = said[-1][2]
    assert len(scored.outcomes) == 16  # whole parts, and no part beyond
    assert (scored.stopped.why, scored.stopped.pairs) == ("all prompts", 12)


def test_a_row_says_where_its_scoring_ended():
    few = row(prompts=16, quality_verdict="inferior", r_precision=0.0)
    assert "16 prompts; scored until inferior to its reference" in cells.notes(few)
    assert "scored until the time was over" in cells.notes(row(quality_verdict="open"))
    assert "scored until" not in cells.notes(row())


# A session.


def test_a_ruined_recipe_is_known_after_a_few_prompts_and_counts_as_a_full_run(tmp_path):
    """Four steps of sampling instead of 64 leave nothing to recognize. The reference is the committed one."""
    cell = "point-e-nano-text/steps-4@cpu"
    asked = ["--quality-prompts", "auto", "--time-budget", "0.1", f"--benchmark-storage=file://{tmp_path}"]
    only = ["-p", "tests.quick_reference", "-k", "point-e-nano-text and steps-4 and cpu", "--benchmark-save=one"]
    done = warm_server.session("-q", *only, *asked)
    assert done.returncode in (0, 1) and "until it is known" in done.stdout, done.stdout
    (file,) = tmp_path.glob("*/0001_one.json")
    (told,) = json.loads(file.read_text())["benchmarks"]
    measured = told["extra_info"]["measurement"]
    assert measured["configuration"] == cell and measured["smoke"] is False
    stopped = measured["quality"]["stopped"]
    assert (stopped["why"], stopped["verdict"]) == ("decided", "inferior")
    assert stopped["pairs"] == len(measured["quality"]["outcomes"]) <= 32


def test_a_wrong_number_of_prompts_names_the_choices():
    for asked, words in (
        (["--quality-prompts", "1025"], "0 to 1024, or auto or auto-3001"),
        (["--quality-prompts", "aut"], "0 to 1024, or auto or auto-3001"),
        (["--quality-time", "0", "--quality-prompts", "auto"], "--quality-time: 0.0 is not possible; above 0"),
        (["--quality-time", "nan", "--quality-prompts", "auto"], "--quality-time: nan is not possible; above 0"),
        (["--quality-time", "9"], "add --quality-prompts auto"),
    ):
        done = warm_server.session("--collect-only", "-q", *asked)
        assert done.returncode == 4 and words in done.stdout
