"""What a plan is made of: rows in a Parquet file, and ids that are all different."""
