"""A pytest plugin for inner sessions (`-p tests.no_measuring`): to ask for the fork server is an error.

For tests of what is said before anything is measured, which a clock would tell on a quiet machine only.
"""

from suite.worker import launching


def forbidden(*arguments, **named):
    raise AssertionError("the fork server was asked for")


assert callable(launching.server)
launching.server = forbidden
