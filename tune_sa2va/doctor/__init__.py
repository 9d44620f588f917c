"""Checks whether this machine can run a search (versions, GPUs, disk, memory, Ray), with a cure for each fault."""
