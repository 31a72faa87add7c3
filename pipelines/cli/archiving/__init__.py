"""Commands that make an output folder smaller, and train what does it."""
