"""Commands that hand codes on to other programs."""
