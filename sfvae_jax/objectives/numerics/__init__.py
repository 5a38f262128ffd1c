"""What all objectives share: checks, precision, linear algebra, batches over devices."""
