"""What a report is made of: the runs, their summary over seeds, and its Markdown."""
