"""A map in the formats of other tools: pure writers of a loaded map. docs/export.md says what each file holds."""
