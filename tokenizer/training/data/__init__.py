"""What a codec is trained on."""
