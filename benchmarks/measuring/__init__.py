"""What is measured, how, and how the numbers are shown."""
