"""Objectives of a whole batch, whose prior follows its codes."""
