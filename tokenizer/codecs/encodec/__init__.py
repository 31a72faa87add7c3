"""EnCodec, with exactly the codes of transformers' EncodecModel."""
