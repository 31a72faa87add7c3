"""Commands that compare codecs by measures and by ear."""
