"""Pictures of what a model of images has learned."""
