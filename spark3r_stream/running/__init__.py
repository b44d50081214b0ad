"""A run put together from its settings, the same for the command line and for Python."""
