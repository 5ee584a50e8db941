"""The one benchmark: every configuration, each held against its budgets."""

from suite.plugin import check


def test_configuration(configuration, measure, benchmark, subtests):
    measurement = measure(configuration, benchmark)
    for budget in configuration.budgets:
        with subtests.test(budget.name):
            check(budget, measurement)
