"""Generated images and how good they are: densities of codes, features, distances."""
