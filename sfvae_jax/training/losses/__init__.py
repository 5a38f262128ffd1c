"""From an objective to the loss of one device's share of a batch."""
