"""Losses that are more than a formula, each in its own folder: interface, algorithms, and where their blocks lie."""
