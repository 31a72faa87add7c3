"""Commands that make an output folder of others, or change one."""
