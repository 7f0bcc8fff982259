"""Endpoints by domain."""
