"""Files, environment, text tables and option values; imports nothing else of this package."""
