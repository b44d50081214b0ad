"""Local features: found, described, matched and verified. No learned weights, no state."""
