"""Commands that make codes smaller for storage and transfer."""
