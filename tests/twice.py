"""A pytest plugin for inner sessions (`-p tests.twice`): runs each test again, as one that reruns failures does."""

from _pytest.runner import runtestprotocol


def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem)
    runtestprotocol(item, nextitem=nextitem)
    return True
