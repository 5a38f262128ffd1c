"""The sources of images, one a file; `data/sources.py` names them."""
