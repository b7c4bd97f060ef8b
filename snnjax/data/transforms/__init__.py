"""Transforms of the pixels and events of an example."""
