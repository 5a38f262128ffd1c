"""The machines that the runs of a sweep go to."""
