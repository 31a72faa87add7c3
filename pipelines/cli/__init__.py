"""The commands, a file each: `add` gives a parser its arguments, `run` turns them into a call and a
result into an exit code.

Exit codes: 0 all fine; 1 `verify` or `audit` found something wrong, or a shard is damaged; 2 what
was asked for cannot be done; 3 `tokenize`, `decode` or `evaluate` finished and some recordings
failed; 4 `tokenize` had nothing to do, and SOURCE has what OUT has not (new, changed, other text);
130 interrupted, 143 terminated, 129 when the terminal has gone (all three resume by the same
command).
A closed pipe (`verify OUT | head`) changes none of them.
"""

EXIT_OK, EXIT_WRONG, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_OUTDATED = 0, 1, 2, 3, 4
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143

SOURCE_HELP = (
    "a folder of audio; an audio file; a manifest (.jsonl, .csv, .parquet with a path column); "
    "hf:NAME[:config]:split; "
    "a data set folder written by save_to_disk; WebDataset tars (a folder, or "
    "data-{000..012}.tar); several are one corpus"
)
