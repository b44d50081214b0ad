"""Bundle adjustment: poses, points, depth scales and one focal length that many views agree on (README.md)."""
