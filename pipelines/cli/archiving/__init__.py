"""Commands of archives: smaller copies of output folders, and what makes them small."""
