"""Readers of data, and planted worlds whose truth is known."""
