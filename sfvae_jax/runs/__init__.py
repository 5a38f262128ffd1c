"""A run on disk: its workdir and files, and the checks before anything is written there."""
