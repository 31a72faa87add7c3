"""DAC (Kumar et al. 2023) through transformers' `DacModel`: convolutions only, at any length."""
