"""The audit: decode what was written, measure it against its sources, say what is wrong, and let
people hear it.

    survey.py     every row of every shard, without decoding: length, level, hashes, scales
    sampling.py   which recordings are decoded: strata, and the worst by what the survey saw
    recording.py  one recording: source and reconstruction side by side, segment by segment
      pairs.py, measures.py, spectra.py, stoi.py, visqol.py    figures, and "not applicable" where there is none
      reencode.py, causes.py                                   the source encoded again, and what a difference means
      flags.py                                                 what is odd about source, reconstruction or corpus
      clips.py, images.py                                      what the page plays and shows
    report.py     report.json, a Parquet table, the terminal
    page/         index.html and what it needs, opened from a file or any web server
    run.py        all of it: `audit(out)`

The package is `auditing` because `pipelines.audit` is the function.
"""
