"""Ray, and nothing else knows of it: actors, and the driver that gives them work."""
