"""What is trained, and what judges it."""
