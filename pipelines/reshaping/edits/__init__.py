"""Rows that are changed where they are: what is asked for, and how it is done."""
