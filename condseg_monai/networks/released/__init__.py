"""Released checkpoints into our networks; every key is used or the call fails."""
