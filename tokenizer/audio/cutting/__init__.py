"""Where a long recording is cut: pauses found while its samples pass by, segments between them."""
