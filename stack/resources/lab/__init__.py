"""What belongs to the lab itself, and exists in its state only."""
