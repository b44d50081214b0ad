"""Programs for developers: they import every package and are imported by none."""
