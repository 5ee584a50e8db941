"""The one benchmark: every configuration, each held against its budgets and, with --baseline, its pinned past."""

from suite.plugin import check, check_change


def test_configuration(configuration, measure, benchmark, changes, subtests):
    measurement = measure(configuration, benchmark)
    for budget in configuration.budgets:
        with subtests.test(budget.name):
            check(budget, measurement)
    for change in changes(measurement):
        with subtests.test(f"{change.quantity} against the baseline"):
            check_change(change, measurement)
