"""The audit: decode what was written, measure it against its sources, say what is wrong, and let
people hear it. Rooms from low to high; each imports those above it in this table.

results.py            figures, remarks, findings, one record a recording; `places`: where files lie
choose/               which recordings
  survey                every row of every shard, without decoding: length, level, hashes, scales
  sampling, share       a sample and the worst by the survey; a share that follows from the ids
measure/              how near a reconstruction is
  registry              one row a measure
  measures, spectra     from sums over segments; `pairs` cuts both streams into the same segments
  windows, stoi, visqol over windows of some seconds
options.py            what an audit is asked for
judge/                what is wrong
  registry              one row a finding; `evidence` is what its rules are given
  causes, differences   what it means that source and codes differ; `reencode` compares them
  suspicions            what it sounds like, where nothing was encoded again
  flags, clicks         what is odd about source and reconstruction
  agreement,            two decoders of one source
    second_look
  among_others          what only the corpus shows
  limits                means that must be kept
page/                 what people look at and listen to: index.html, sound, pictures, the notebook

meters.py             everything that is measured of one recording while it goes by
recording.py          one recording: source and reconstruction side by side, in bounded memory
on_cluster.py         many of them, on a cluster's workers
while_tokenizing.py   one recording while `tokenize` still has its waveform
saved_results.py      results of single recordings on their way into a report
report.py             report.json, a Parquet table, the terminal
run.py                all of it: `audit(out)`

The package is `auditing` because `pipelines.audit` is the function.
"""
