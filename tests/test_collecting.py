"""The garbage collector goes on as it was, whatever happens while it is held back."""

from __future__ import annotations

import gc

import pytest

from suite.collecting import paused


def test_it_is_held_back_also_by_two_at_once_and_goes_on_after_an_error():
    assert gc.isenabled()
    with pytest.raises(ValueError), paused():
        with paused():
            pass
        assert not gc.isenabled(), "the inner one came in while it was held back"
        raise ValueError
    assert gc.isenabled()
