"""What is published: messages as plain values, and the bytes they travel as."""
