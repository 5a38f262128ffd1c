"""The pictures of a report: bars, curves, and runs side by side."""
