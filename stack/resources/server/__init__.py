"""What the lab knows about its server beside the cloud's own resources."""
