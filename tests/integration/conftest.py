"""Fixtures of the command line, for the tests of this folder."""

from tests.support.fixtures import apple, bare, here, stored

__all__ = ["apple", "bare", "here", "stored"]
