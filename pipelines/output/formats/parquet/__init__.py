"""Parquet shards: written row group by row group, read row by row."""
