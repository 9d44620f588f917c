"""What a search would do here, what it would take, and what would make it fail, before anything runs."""
