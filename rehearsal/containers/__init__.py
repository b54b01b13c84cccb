"""The Docker engine of a rehearsed server: containers as supervised local processes."""
