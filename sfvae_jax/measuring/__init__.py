"""The measures of a run: its trained model as evaluations take it, and what results.json keeps."""
