"""Spark3R core: models, memory, geometry."""
