"""Listening tests by MUSHRA (ITU-R BS.1534): make one of an evaluation, collect ratings, analyse."""
