"""HTTP service of a trained model, with a page to try it."""
