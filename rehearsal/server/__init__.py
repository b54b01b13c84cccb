"""A rented server as a rehearsal has it: SSH, a file tree, and the commands of Ubuntu 22.04."""
