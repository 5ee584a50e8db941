"""The environment's settings of threads, kernels and allocators, and what they do to a fingerprint.

That a worker reports them is in test_plugin.py, that a night with others begins a series in test_nights.py."""

from __future__ import annotations

import pytest

from suite.devices.settings import settings, threads_rest
from suite.records import Fingerprint

from .factories import measurement

PASSIVE = "GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=PASSIVE"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, None),
        ({"PATH": "/usr/bin", "OMP_NUM_THREADS": "2"}, None),  # how many they are is known as `threads`
        ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}, PASSIVE),
        ({"OMP_WAIT_POLICY": " "}, None),
        ({"NVIDIA_TF32_OVERRIDE": "1"}, "NVIDIA_TF32_OVERRIDE=1"),
        (
            {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True, max_split_size_mb:64"},
            "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True,_max_split_size_mb:64",
        ),
        ({"LD_PRELOAD": "/home/me/lib/libjemalloc.so.2:libm.so"}, "LD_PRELOAD=libjemalloc.so.2:libm.so"),
    ],
)
def test_what_is_set_is_said_in_one_way(environment, said):
    assert settings(environment) == said


def test_a_setting_of_any_length_is_one_that_a_record_takes_and_hides_none_behind_it():
    long = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:" * 100}
    said = [settings(long), settings(long | {"OMP_WAIT_POLICY": "PASSIVE"})]
    assert said[0] != said[1]
    assert [measurement(settings=one).fingerprint.settings for one in said] == said


def test_a_setting_that_is_no_text_is_one_that_a_record_takes_and_saves():
    """As Python gives bytes of the environment that are not UTF-8."""
    said = settings({"LD_PRELOAD": b"/opt/lib\xff.so".decode("utf-8", "surrogateescape")})
    printed = measurement(settings=said).fingerprint
    assert Fingerprint.model_validate_json(printed.model_dump_json()) == printed


def test_a_fingerprint_without_settings_has_the_id_that_it_always_had_and_each_setting_another():
    made = [measurement(settings=said).fingerprint for said in (None, PASSIVE, "OMP_WAIT_POLICY=ACTIVE")]
    assert made[0].id == "8b07c93569c4"  # as the version before had it
    assert Fingerprint.model_validate(made[0].model_dump(exclude={"settings"})) == made[0]
    assert len({one.id for one in made}) == 3


@pytest.mark.parametrize(
    "environment, rest",
    [
        ({}, True),
        ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}, True),
        ({"OMP_WAIT_POLICY": " active "}, False),
        ({"GOMP_SPINCOUNT": "infinity"}, False),
        ({"KMP_BLOCKTIME": "infinite"}, False),
    ],
)
def test_threads_that_never_rest_are_told(environment, rest):
    assert threads_rest(environment) is rest
