"""Backbone families on shared layers. `registry.load_model` gives one by name; `interface` says what each can do."""
