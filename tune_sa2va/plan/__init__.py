"""What a search would do, what it would take, and what would make it fail, found out before it runs."""
