"""Nothing is configured here: `suite/plugin.py` is loaded earlier, by `addopts` in pytest.ini, since bare
`--benchmark-save` must be understood before any conftest is read. This file marks the root of the checkout."""
