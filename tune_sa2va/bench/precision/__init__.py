"""Compares a base in fp8 with one in bf16: its layers, its gradients, and adapters that were trained over it."""
