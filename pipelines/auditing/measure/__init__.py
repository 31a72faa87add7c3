"""How near decoded audio is to its source."""
