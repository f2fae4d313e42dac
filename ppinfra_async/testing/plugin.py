"""Pytest plugin placeholder."""
