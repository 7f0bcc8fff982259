"""Why a home cannot be had."""


class Unavailable(Exception):
    """A home cannot be had on this machine; the message says why, and what would help."""
