"""Result files of a run. Pillow is imported only where a picture is made."""
