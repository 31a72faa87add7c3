"""Files to blocks of samples, by FFmpeg or by libsndfile."""
