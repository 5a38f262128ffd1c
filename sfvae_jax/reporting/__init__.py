"""Reports of runs and generated pages: tables, pictures, Markdown, LaTeX and CSV."""
