"""All frames at once: reconstruct() with token reduction, and the probe of sensitive layers."""
