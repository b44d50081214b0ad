"""Lists of the guards that `tools/mutate_guards.py` removes."""
