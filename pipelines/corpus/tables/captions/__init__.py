"""What is said when, in files that players show."""
