"""What makes a site of the documentation, and README's picture."""
