"""Reports: drawings, score tables, summaries, HTML pages, and comparison of evaluations."""
