"""Listening tests by MUSHRA (ITU-R BS.1534): made of an evaluation, served, analysed."""
