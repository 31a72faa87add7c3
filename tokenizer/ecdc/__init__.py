"""Files of the tool that EnCodec's authors published, the PyPI package `encodec` 0.1.1: `.ecdc`,
read and written. The format is in `docs/ecdc.md`, byte by byte."""
