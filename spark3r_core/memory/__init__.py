"""The bounded key-value memory of past frames.

pages.py (which frame in which slot), policy.py (what goes), budget.py (bytes to pages) hold no tensor;
kv_memory.py moves the tensors; dense_reference.py is the same by concatenation, for tests.
"""
