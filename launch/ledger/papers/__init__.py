"""The tables and figures of each paper, and the runs that make them up."""
