"""The command line: commands.py declares, one file per command runs."""
