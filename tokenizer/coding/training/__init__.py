"""How a transformer that predicts codes is trained."""
