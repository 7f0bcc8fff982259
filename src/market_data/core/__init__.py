"""Vocabulary and ground rules every other layer stands on; imports nothing above it."""
