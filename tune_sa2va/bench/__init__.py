"""Benchmarks that anybody can rerun: the speed of a step, of the cache, of a change of trials and of a whole search."""
