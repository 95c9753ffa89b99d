"""Renderers: pure functions from a record to a page, a summary or a file that other tools read."""
