"""The run of one stream: buffer, reconstruction, states, and where results go."""
