"""Corpora in, shards of codes out: sources, plan, shards, Ray, command line."""
