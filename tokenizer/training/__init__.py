"""Training and fine-tuning of EnCodec: the recipe of Défossez et al. 2022, "High Fidelity Neural
Audio Compression".

A corpus becomes a pack (`pack`), a pack becomes batches (`data`), batches train transformers'
`EncodecModel` (`loop`), and a run folder holds an ordinary `save_pretrained` checkpoint at every
moment (`checkpoints`). From a pack alone, with torch, transformers, NumPy and safetensors: `python
-m tokenizer.training PACK RUN_DIR --preset small`.
"""
