"""The files of a run: its workdir, its configuration, and who may write them."""
