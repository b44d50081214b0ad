"""The bounded key-value memory of past frames.

config.py says what to keep. pages.py (which frame in which slot), policy.py (what goes), budget.py (bytes to pages)
hold no tensor; eviction.py applies a policy to a memory; kv_memory.py moves the tensors; dense_reference.py is the same
by concatenation, for tests.
"""
