"""Whether this machine can run a search: versions, GPUs, Ray's needs, room; and a cure for what it lacks."""
