"""The map of a run as one file: `.s3rmap`, a safetensors file that docs/map_file.md describes."""
