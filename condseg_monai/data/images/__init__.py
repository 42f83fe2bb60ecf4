"""Images and masks: reading, normalisation and colour augmentation."""
