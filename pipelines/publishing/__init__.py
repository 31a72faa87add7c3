"""An output folder to the Hugging Face Hub: shards first, the card last."""
