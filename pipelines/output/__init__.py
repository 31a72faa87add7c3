"""What an output folder holds, and every way of writing, reading and checking it."""
