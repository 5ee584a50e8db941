"""A pytest plugin for inner sessions: a reference is old as soon as it is timed."""

import suite.session.references

suite.session.references.OLD_S = suite.session.references.OLD_OBJECTS = 0
