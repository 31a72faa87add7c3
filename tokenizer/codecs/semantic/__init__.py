"""Codecs with a semantic branch, whose attention sees the whole signal: X-Codec, X-Codec2,
Higgs, NeuCodec."""
