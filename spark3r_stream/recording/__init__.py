"""MCAP: write, read, replay, and the proof that a run repeats."""
