"""What all objectives share: checks, linear algebra, precision, tangents, and shared batches."""
