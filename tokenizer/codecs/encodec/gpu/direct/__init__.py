"""The encoder and the quantizer by kernels of our own."""
