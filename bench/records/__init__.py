"""Records: writing, reading, replay, verification, comparison; their rows and labels."""
