"""What people look at and listen to."""
