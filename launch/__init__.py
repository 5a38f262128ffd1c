"""Many runs of one sweep, and one run on many machines."""
