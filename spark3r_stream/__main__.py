"""`python -m spark3r_stream`: the command `spark3r`, for where the script is not on PATH."""

from spark3r_stream.cli.main import program

if __name__ == "__main__":
    program()
