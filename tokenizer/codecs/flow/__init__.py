"""How recordings of any length pass through a codec: whole ones, streams, many side by side."""
