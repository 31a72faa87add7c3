"""`OUT/manifest`: who has committed what, and who is at work."""
