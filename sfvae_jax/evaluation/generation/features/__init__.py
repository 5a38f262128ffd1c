"""Features of images, in which generated images are compared with real ones."""
