"""A transformer that predicts codes: trained in floating point, run in integers."""
