"""Protobuf package `spark3r`."""
