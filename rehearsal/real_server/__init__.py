"""A rented server as a container: systemd, sshd, apt and a Docker engine of its own.

How and why so: docs/facts/engine.md, "A server in a container". Stand-ins are only the NVIDIA
driver, its toolkit and `nvidia-smi`; `image/` holds what the images are made of.
"""
