"""Measurements anyone can rerun: how fast a step, the cache, a change of trials and a whole search are, and why."""
