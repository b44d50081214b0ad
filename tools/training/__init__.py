"""Training of the bundled network: data pool, windows, losses, checkpoints. Used by tools/train_bundled.py only."""
