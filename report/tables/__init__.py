"""The tables of the report: Markdown, LaTeX and CSV."""
