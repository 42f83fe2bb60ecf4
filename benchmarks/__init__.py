"""What the networks and their pipeline cost, measured here and now; see docs/performance.md."""
