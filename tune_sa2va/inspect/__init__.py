"""What a model holds, what a configuration trains in it, and how much memory that takes; nothing is loaded."""
