"""The papers' modules, one per file."""
