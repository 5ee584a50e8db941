"""The standard library's tomllib, or before Python 3.11 the package that it came from."""

import sys

if sys.version_info >= (3, 11):
    import tomllib as tomllib
else:
    import tomli as tomllib  # noqa: F401
