"""A rented server on the stage: sshd, a shell, and stubs of what our scripts call."""
