"""The page on this machine or network, and ratings as they come."""
